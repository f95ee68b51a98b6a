"""Costs: numbers next to the bars, and ratios that the trials support."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lossbench.planning.plan import Plan
from lossbench.report.figures import cost
from lossbench.report.figures.style import row_colours
from tests.report.figures.drawing import TWO, Drawn, stage_of


def test_numbers_are_clear_of_the_points(make_plan: Callable[..., Plan], drawn: Drawn) -> None:
    plan = make_plan(TWO)
    cost.cost_figure(stage_of(plan), "default", plan.rows, row_colours(plan.rows), "softmax")
    figure, _ = drawn["cost-default"]
    figure.canvas.draw()  # the layout is final
    for axes in figure.axes:
        points = np.concatenate(
            [axes.transData.transform(line.get_xydata()) for line in axes.lines]
        )
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
            row.label for row in plan.rows
        ]
        for text in axes.texts:
            assert text.get_window_extent().x0 > points[:, 0].max() + 10
            assert text.get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize(
    ("own", "reference", "expected"),
    [
        ([13.0, 14.0], [10.0, 11.0], "×1.29"),
        ([7.0, 7.4, 7.8], [10.0, 11.0, 12.0], "×0.67"),
        ([8.0, 12.0], [10.0, 11.0], "trials overlap"),
        ([7.0, 7.4, 10.5], [10.0, 11.0, 12.0], "trials overlap"),
        ([10.0, 10.0], [10.0, 10.0], "trials overlap"),
        ([7.4], [10.0], "×0.74, 1 trial"),
        ([7.4, 7.5], [10.0], "×0.74, 1 trial"),
    ],
)
def test_a_ratio_of_costs_needs_trials_that_do_not_overlap(
    own: list[float], reference: list[float], expected: str
) -> None:
    assert cost.relative_cost(own, reference) == expected
