"""The figure of learning curves: whole epochs, and labels next to the curves' ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.figures.curve_figure import curve_figure, spread
from lossbench.report.figures.curves import learning_curves
from tests.report.figures.drawing import TWO, Drawn
from tests.report.synthetic_report import result_of

ONE_EPOCH = """
suite: synthetic
dataset: digits
model: {name: digits_cnn}
recipe: {epochs: 1, batch_size: 64, optimizer: {name: sgd, lr: 0.01}}
"""


@pytest.mark.parametrize("epochs", [1, 2, 3, 8])
def test_epochs_are_whole_numbers(
    make_plan: Callable[..., Plan], drawn: Drawn, epochs: int
) -> None:
    plan = make_plan(TWO, head=ONE_EPOCH.replace("epochs: 1", f"epochs: {epochs}"))
    results = {trial.identity: result_of(trial, 3.0) for trial in plan.trials}
    [curves] = learning_curves(PlanWithResults(plan, results), plan.suite.variants)
    curve_figure(curves)
    for axes in drawn["curves-default"][0].axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == round(tick) for tick in ticks)
        if epochs == 1:
            assert (low, high, ticks) == (0.5, 1.5, [1])


@pytest.mark.parametrize(
    "positions", [[0.5, 0.5, 0.5], [0.0, 0.01, 0.9], [0.98, 0.99, 1.0], [0.2, 0.3, 0.31, 0.32, 0.9]]
)
def test_labels_are_spread_apart_inside_the_axes(positions: list[float]) -> None:
    moved = spread(positions, 0.1)
    assert len(moved) == len(positions)
    assert np.diff(moved).min() >= 0.1 - 1e-12
    assert min(moved) >= 0
    assert max(moved) <= 1 + 1e-12


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])
