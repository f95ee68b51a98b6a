"""Ranks by metric against a slow count of better rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import fmean

import pytest

from lossbench.analysis.metric_ranks import metric_ranks
from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.records import Metric
from tests.report.synthetic_report import result_of

METRICS = (
    Metric(name="error", label="error", unit="% of images"),
    Metric(name="auroc", label="AUROC", higher_is_better=True),
    Metric(name="nll", label="NLL"),
    Metric(name="norm", label="norm", judged=False),
)
VALUES = {
    "softmax": (3.0, 90.0, 0.5),
    "center": (2.0, 90.0, 0.7),
    "triplet": (2.0, 95.0, 0.9),
    "lgm": (1.0, 80.0, 0.1),
}


@pytest.fixture
def plan(make_plan: Callable[..., Plan]) -> Plan:
    plan = make_plan("seeds: [0, 1]\nlosses: [softmax, center, triplet, lgm]\n")
    return replace(plan, metrics=METRICS)


def results_of(plan: Plan, *, diverged: str = "", missing: str = "") -> dict[str, object]:
    found = {}
    for trial in plan.trials:
        if trial.row == missing and trial.seed == 1:
            continue
        values = dict(zip(("error", "auroc", "nll"), VALUES[trial.row], strict=True))
        metrics = {name: value + 0.1 * trial.seed for name, value in values.items()}
        failed = trial.row == diverged and trial.seed == 1
        found[trial.identity] = result_of(
            trial,
            3.0,
            status="diverged" if failed else "finished",
            metrics={} if failed else {**metrics, "norm": 7.0},
        )
    return found


def test_ranks_count_better_rows_with_the_direction_of_the_metric(plan: Plan) -> None:
    found = metric_ranks(make_tables(PlanWithResults(plan, results_of(plan))), "default")
    assert [one.table.metric for one in found] == ["error", "auroc", "nll"]
    for place, one in enumerate(found):
        sign = -1 if METRICS[place].higher_is_better else 1
        means = {row: sign * fmean([v[place], v[place] + 0.1]) for row, v in VALUES.items()}
        expected = {
            row: 1
            + sum(other < mean for other in means.values())
            + (sum(other == mean for other in means.values()) - 1) / 2
            for row, mean in means.items()
        }
        assert one.ranks == expected
        assert one.unranked == {}
    assert found[0].ranks == {"softmax": 4, "center": 2.5, "triplet": 2.5, "lgm": 1}


def test_rows_with_diverged_or_missing_trials_have_no_rank(plan: Plan) -> None:
    results = results_of(plan, diverged="lgm", missing="center")
    plan = replace(plan, metrics=METRICS)
    assert metric_ranks(make_tables(PlanWithResults(plan, results)), "default") == []  # two rows
    found = metric_ranks(
        make_tables(PlanWithResults(plan, results_of(plan, diverged="lgm"))), "default"
    )
    assert [one.unranked for one in found] == [{"lgm": "diverged"}] * 3
    assert found[0].ranks == {"softmax": 3, "center": 1.5, "triplet": 1.5}
    found = metric_ranks(
        make_tables(PlanWithResults(plan, results_of(plan, missing="lgm"))), "default"
    )
    assert [one.unranked for one in found] == [{"lgm": "missing"}] * 3


def test_few_metrics_are_not_ranked(plan: Plan) -> None:
    two = replace(plan, metrics=METRICS[:2] + METRICS[3:])
    assert metric_ranks(make_tables(PlanWithResults(two, results_of(plan))), "default") == []
