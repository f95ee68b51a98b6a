"""Counts of finished and remaining trials."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lossbench.assembly.check import check
from lossbench.planning.costs import Cost, Costs
from lossbench.planning.status import PlanStatus
from lossbench.suite.load import load_suite
from tests.planning.test_plan import plan_of
from tests.report.synthetic_report import result_of

Write = Callable[..., Path]
NOWHERE = Path("/nonexistent/data")


def test_trials_without_a_result_remain(write_suite: Write) -> None:
    plan = plan_of(write_suite())
    first, *others = plan.trials
    status = PlanStatus(plan, plan.trials, {first.identity: result_of(first, 1.0)})
    assert status.left == others
    assert status.expected_trials == []
    assert sum(map(status.epochs_left, status.plan.suite.variants)) == 2 * len(others)
    assert status.forecast(Costs(plan.trials, {}, "cpu"), 1) is None
    forecast = status.forecast(Costs(plan.trials, {}, "cpu", lambda trial: Cost(3.0, 1.0)), 1)
    assert forecast is not None
    assert (forecast.trials, forecast.wall_time_sec) == (5, 15.0)


def test_trained_trials_that_lack_an_evaluation_are_measured_not_trained(
    write_suite: Write,
) -> None:
    plan = plan_of(write_suite(), "evaluate=[error, top5_error]")
    first, second, *others = plan.trials
    lacking = result_of(second, 1.0, metrics={"error": 1.0}, unmeasured=("top5_error",))
    results = {first.identity: result_of(first, 1.0), second.identity: lacking}
    status = PlanStatus(plan, plan.trials, results)
    assert status.to_measure == [second]
    assert status.left == others
    assert sum(map(status.epochs_left, status.plan.suite.variants)) == 2 * len(others)


def test_trials_that_a_selection_will_add_are_expected(write_suite: Write) -> None:
    path = write_suite()
    grid = check(load_suite(path, ["selection={holdout: 0.25}"]), NOWHERE)
    assert len(PlanStatus(grid, grid.trials, {}).expected_trials) == 2 * 2
    overrides = [
        "losses.lgm.alpha={search: {low: 0.01, high: 1}}",
        "selection={holdout: 0.25, samples: 20}",
    ]
    search = check(load_suite(path, overrides), NOWHERE)
    found = PlanStatus(search, search.trials, {})
    assert len(found.trials) + len(found.expected_trials) == 2 * (1 + 20) + 2 * 2
