"""The selection's chart: values on their own scale, the choice and what has no value marked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from matplotlib.figure import Figure

from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.figures.selection_points import distinct_values, draw_points, scale_of
from lossbench.report.figures.style import figure_style, row_colours
from tests.report.synthetic_report import Results, result_of

CENTER = """
selection: {holdout: 0.2}
losses: [{center: {weight: {grid: [0.1, 0.001, 1.0, 0.01]}}}]
"""
NAN = float("nan")


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with figure_style():
        yield


@pytest.mark.parametrize(
    ("values", "searched_on_log", "kind", "names"),
    [
        ([1.0, 0.1, 0.3], False, "linear", ["0.1", "0.3", "1"]),
        ([1.0, 0.1, 0.3], True, "log", ["0.1", "0.3", "1"]),
        ([1.0, 0.001, 0.1], False, "log", ["0.001", "0.1", "1"]),
        ([1.0, 0.0, 0.01, 0.001], False, "log", ["0", "0.001", "0.01", "1"]),
        ([1.0, 0.0, 0.5], False, "linear", ["0", "0.5", "1"]),
        ([1.0, 0.0], True, "log", ["0", "1"]),
        ([0.0], True, "linear", ["0"]),
        ([-2.0, -1.0, 500.0, 1.0], False, "linear", ["-2", "-1", "1", "500"]),
        ([4, 1, 2], False, "linear", ["1", "2", "4"]),
        ([2.0], False, "linear", ["2"]),
        (["identity", "diagonal"], False, "category", ["identity", "diagonal"]),
        ([True, False], False, "category", ["True", "False"]),
        ([0.3, None, 0.1], True, "category", ["None", "0.1", "0.3"]),
    ],
)
def test_values_stand_by_size_on_their_scale(
    values: list[Any], searched_on_log: bool, kind: str, names: list[str]
) -> None:
    scale = scale_of(values, searched_on_log)
    assert scale.kind == kind
    assert sorted(scale.places, key=lambda text: scale.places[text]) == names
    if kind == "log":
        assert min(scale.places.values()) > 0
    assert distinct_values(values) == names


def draw(plan: Plan, results: Results, **options: Any) -> Figure:
    held_out, *_ = make_tables(PlanWithResults(plan, results))
    cells = [held_out.cells["default", row.label] for row in plan.rows]
    parameters = list(plan.rows[0].varied)
    options = {"named": (), "searched_on_log": (), **options}
    return draw_points(cells, parameters, held_out, row_colours(plan.rows), **options)


def test_one_parameter_with_its_seeds_and_the_choice(
    make_plan: Callable[..., Plan], fill: Callable[..., Results]
) -> None:
    plan = make_plan(CENTER)
    errors = {"0.1": [5.0, 6.0, 7.0], "0.001": [8.0] * 3, "1": [NAN, 9.0, 9.0], "0.01": [NAN] * 3}
    values = {f"default/center(weight={key})": found for key, found in errors.items()}
    figure = draw(plan, fill(plan, values))
    [axes] = figure.axes
    assert (axes.get_xlabel(), axes.get_xscale()) == ("weight", "log")
    assert axes.get_ylabel().startswith("Held-out error\n% of")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.001", "0.01", "0.1", "1"]
    seeds = [line for line in axes.lines if line.get_markersize() == 3]
    assert sorted(map(tuple, (line.get_ydata() for line in seeds)))[0] == (5, 6, 7)
    low, high = axes.get_ylim()
    assert low < 5 < 9 < high
    [circle] = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert circle.get_xydata().tolist() == [[0.1, 6.0]]
    [lost] = [line for line in axes.lines if line.get_marker() == "^"]
    assert lost.get_xdata().tolist() == [0.01]
    assert [text.get_text() for text in axes.texts] == ["n=2"]
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["chosen", "one seed", "diverged"]


def test_stopped_rows_are_marked(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(CENTER)
    results = {
        trial.identity: result_of(
            trial, 5.0, status="stopped" if trial.row.endswith("=1)") else "finished"
        )
        for trial in plan.trials
    }
    [axes] = draw(plan, results).axes
    [stopped] = [line for line in axes.lines if line.get_marker() == "x"]
    assert stopped.get_xdata().tolist() == [1.0]


def test_three_parameters_have_a_panel_each(
    make_plan: Callable[..., Plan], run_all: Callable[[Plan], Results]
) -> None:
    plan = make_plan(
        "selection: {holdout: 0.2}\nlosses: [{lgm: {alpha: {grid: [1.0, 0.1]}, "
        "lambda: {grid: [0.1, 1.0]}, covariance: {grid: [identity, diagonal]}}}]\n"
    )
    figure = draw(plan, run_all(plan), searched_on_log={"lambda"})
    assert [axes.get_xlabel() for axes in figure.axes] == ["alpha", "lambda", "covariance"]
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "log", "linear"]


def test_many_values_have_fewer_ticks(
    make_plan: Callable[..., Plan], run_all: Callable[[Plan], Results]
) -> None:
    grid = ", ".join(f"{0.05 * i + 0.1:.2f}" for i in range(24))
    plan = make_plan(
        f"selection: {{holdout: 0.2}}\nlosses: [{{center: {{weight: {{grid: [{grid}]}}}}}}]\n"
    )
    [axes] = draw(plan, run_all(plan)).axes
    low, high = axes.get_xlim()
    assert 3 <= sum(low <= tick <= high for tick in axes.get_xticks()) <= 9
