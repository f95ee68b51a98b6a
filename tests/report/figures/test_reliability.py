"""Reliability diagrams show the stored bins."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from lossbench.planning.plan import Plan
from lossbench.records import Artifact
from lossbench.report.figures.reliability import reliability_figure
from lossbench.report.figures.style import row_colours
from tests.report.figures.drawing import Drawn, stage_of

ARTIFACT = Artifact(
    name="reliability",
    kind="reliability",
    title="posterior",
    key="posterior",
    metrics=("ece_4", "adaptive_ece_4"),
)
ARRAYS = {
    "count": np.array([0, 10, 30, 60]),
    "confidence": np.array([0.0, 0.4, 0.7, 0.9]),
    "accuracy": np.array([0.0, 0.5, 0.6, 1.0]),
}


@pytest.mark.parametrize("rows", [1, 5])
def test_bars_are_accuracies_and_dots_are_at_confidences(
    make_plan: Callable[..., Plan], drawn: Drawn, rows: int
) -> None:
    alphas = [0.1 * k for k in range(rows)]
    plan = make_plan(f"seeds: [0, 1]\nlosses: [{{lgm: {{alpha: {{grid: {alphas}}}}}}}]\n")
    stage = stage_of(plan, ece_4=7.04)
    reliability_figure(
        stage, "default", plan.rows, ARTIFACT, row_colours(plan.rows), lambda *_: ARRAYS
    )
    figure, caption = drawn["reliability-default"]
    shown = [axes for axes in figure.axes if axes.axison]
    assert len(shown) == 2 * rows
    [upper] = [axes for axes in shown if axes.get_title(loc="left").startswith(plan.rows[0].label)]
    assert upper.get_title(loc="left").endswith("\nECE 7.0 %")
    assert [bar.get_height() for bar in upper.patches] == [50, 60, 100]  # none for the empty bin
    assert [bar.get_x() for bar in upper.patches] == [25, 50, 75]
    assert [bar.get_width() for bar in upper.patches] == [25, 25, 25]
    diagonal, dots = upper.lines
    assert [*diagonal.get_xdata(), *diagonal.get_ydata()] == [0, 100, 0, 100]
    np.testing.assert_allclose(dots.get_xydata(), [[40, 50], [70, 60], [90, 100]])
    lower = next(axes for axes in shown if axes.get_xlabel() == "confidence, %")
    [steps] = lower.patches
    np.testing.assert_allclose(steps.get_data().values, [0, 10, 30, 60])
    assert "4 bins" in caption
    assert "seed 0" in caption


def test_panels_are_spread_evenly_over_the_lines(
    make_plan: Callable[..., Plan], drawn: Drawn
) -> None:
    plan = make_plan(f"losses: [{{lgm: {{alpha: {{grid: {[0.1 * k for k in range(5)]}}}}}}}]\n")
    reliability_figure(
        stage_of(plan), "default", plan.rows, ARTIFACT, row_colours(plan.rows), lambda *_: ARRAYS
    )
    figure, _ = drawn["reliability-default"]
    upper = [axes for axes in figure.axes if axes.get_title(loc="left")]
    columns = [axes.get_subplotspec().colspan.start for axes in upper]
    assert columns == [0, 1, 2, 0, 1]
    assert all(a.get_ylim() == b.get_ylim() for a, b in pairwise(upper))


def test_no_figure_without_stored_arrays(make_plan: Callable[..., Plan], drawn: Drawn) -> None:
    plan = make_plan("losses: [softmax]\n")
    found = reliability_figure(
        stage_of(plan), "default", plan.rows, ARTIFACT, row_colours(plan.rows), lambda *_: None
    )
    assert (found, drawn) == (None, {})
