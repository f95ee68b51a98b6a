"""Learning curves: means and ranges over the seeds, diverged trials, and the kind of axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.records import EpochRecord
from lossbench.report.figures.curve_charts import MAX_POINTS, chart, tooltips
from lossbench.report.figures.curves import LearningCurves, learning_curves
from tests.report.synthetic_report import result_of


def curves_of(
    plan: Plan, histories: Mapping[tuple[str, int], list[float]], diverged: set[tuple[str, int]]
) -> LearningCurves:
    """Curves of errors by row and seed; the training loss is half of each error."""
    results = {}
    for trial in plan.trials:
        key = trial.row, trial.seed
        if key in histories:
            history = tuple(
                EpochRecord(epoch=e, timestamp_ms=e, metrics={"test_error": v, "train_loss": v / 2})
                for e, v in enumerate(histories[key], 1)
            )
            status = "diverged" if key in diverged else "finished"
            results[trial.identity] = result_of(trial, 1.0, status=status, history=history)
    [found] = learning_curves(PlanWithResults(plan, results), plan.suite.variants)
    return found


def test_means_and_ranges_are_those_of_the_finished_seeds(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan("seeds: [0, 1, 2]\nlosses: [softmax, center]\n")
    histories = {
        ("softmax", 0): [10.0, 4.0, 1.0],
        ("softmax", 1): [20.0, 6.0],
        ("softmax", 2): [90.0, 95.0],
        ("center", 0): [3.0],
    }
    found = curves_of(plan, histories, {("softmax", 2)})
    error, loss = found.panels
    mean, lost, center = error.curves
    assert (mean.epochs, mean.means) == ((1, 2, 3), (15.0, 5.0, 1.0))
    assert (mean.lows, mean.highs) == ((10.0, 4.0, 1.0), (20.0, 6.0, 1.0))
    assert (lost.label, lost.diverged, lost.means) == ("softmax", True, (90.0, 95.0))
    assert (center.label, center.diverged, center.epochs) == ("center", False, (1,))
    assert loss.curves[0].means == (7.5, 2.5, 0.5)
    assert (found.trials, found.diverged) == (4, 1)
    assert error.only_epoch is None


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        ([1.0, 9.9], False),
        ([1.0, 10.0], True),
        ([0.0, 1.0, 10.0], True),
        ([0.0, 0.0], False),
        ([-1.0, 1.0, 100.0], False),
    ],
)
def test_wide_ranges_have_a_logarithmic_axis(
    make_plan: Callable[..., Plan], values: list[float], logarithmic: bool
) -> None:
    plan = make_plan("seeds: [0]\nlosses: [softmax]\n")
    panel = curves_of(plan, {("softmax", 0): values}, set()).panels[0]
    assert panel.logarithmic is logarithmic
    assert 'aria-label="Error, % of test images, over the epochs, of softmax"' in chart(panel)


def test_the_page_thins_long_curves_and_keeps_both_ends(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan("seeds: [0]\nlosses: [softmax]\n")
    long = [float(e) for e in range(1, 3 * MAX_POINTS)]
    [[shown], _] = tooltips(curves_of(plan, {("softmax", 0): long}, set()))
    assert len(shown["epochs"]) <= MAX_POINTS + 1
    assert (shown["epochs"][0], shown["epochs"][-1]) == (1, 3 * MAX_POINTS - 1)
    assert shown["values"][-1] == pytest.approx(3 * MAX_POINTS - 1, rel=1e-3)
