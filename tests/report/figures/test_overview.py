"""The overview has the difference of each cell, coloured by its direction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from lossbench.analysis.tables import Table, make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.figures.forest import LOOKS
from lossbench.report.figures.overview import NO_VALUE, find_differences, overview_figure
from tests.analysis.made_up_tables import NAN
from tests.report.figures.drawing import Drawn
from tests.report.synthetic_report import result_of

BODY = (
    "variants: {A: {model: {feature_dim: 2}}, B: {model: {feature_dim: 8}}}\n"
    "losses: [softmax, center, lgm]\n"
)
LEVELS = {"A": {"softmax": 5.0, "center": 3.0, "lgm": 9.0}, "B": {"softmax": 6.0, "center": 6.5}}


def table_of(plan: Plan) -> Table:
    results = {}
    for trial in plan.trials:
        wobble = 0.01 * ((trial.seed + len(trial.row)) % 3)  # with the same mean for all rows
        level = LEVELS[trial.variant].get(trial.row, NAN) + wobble
        status = "finished" if level == level else "diverged"
        results[trial.identity] = result_of(trial, level, status=status)
    [table] = make_tables(PlanWithResults(plan, results))
    return table


def test_differences_are_those_to_the_reference(make_plan: Callable[..., Plan]) -> None:
    found = find_differences(table_of(make_plan(f"reference: softmax\n{BODY}")))
    assert found is not None
    assert (found.to, found.variants, found.rows) == ("softmax", ("A", "B"), ("center", "lgm"))
    assert found.values == pytest.approx(np.array([[-2, 4], [0.5, np.nan]]), nan_ok=True)
    assert found.outcomes.tolist()[0] == ["better", "worse"]
    assert found.outcomes.tolist()[1][1] == "none"


def test_without_a_reference_they_are_those_to_the_best(make_plan: Callable[..., Plan]) -> None:
    found = find_differences(table_of(make_plan(BODY)))
    assert found is not None
    assert found.to == "the best mean of the column"
    expected = np.array([[2, 0, 6], [0, 0.5, np.nan]])
    assert found.values == pytest.approx(expected, nan_ok=True)


def test_colours_and_marks_are_those_of_the_verdicts(
    make_plan: Callable[..., Plan], drawn: Drawn
) -> None:
    overview_figure(table_of(make_plan(f"reference: softmax\n{BODY}")))
    figure, caption = drawn["overview-error"]
    axes = figure.axes[0]
    [image] = axes.images
    values = image.get_array()
    colours = image.cmap(image.norm(values))
    better, worse = (to_rgb(LOOKS[name].colour) for name in ("better", "worse"))
    assert colours[0, 1][:3] == pytest.approx(worse)
    assert np.abs(colours[0, 0][:3] - better).sum() < np.abs(colours[0, 0][:3] - worse).sum()
    assert colours[1, 1][:3] == pytest.approx(to_rgb(NO_VALUE))
    marks = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert marks == {"better": [[0, 0]], "worse": [[1, 0], [0, 1]]}
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["A", "B"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["center", "lgm"]
    assert "difference to softmax" in caption


def test_no_overview_without_a_value(make_plan: Callable[..., Plan], drawn: Drawn) -> None:
    [table] = make_tables(PlanWithResults(make_plan(f"reference: softmax\n{BODY}"), {}))
    assert overview_figure(table) is None
    assert drawn == {}
