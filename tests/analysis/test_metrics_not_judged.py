"""Metrics that only describe a model: rows are neither compared nor ranked by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lossbench.analysis.ranking import rank_suites
from lossbench.analysis.tables import make_tables
from lossbench.errors import RequestError
from lossbench.gate.from_results import metrics_of
from lossbench.planning.selection import PlanWithResults

MakeSuite = Callable[..., PlanWithResults]


@pytest.fixture
def found(make_suite: MakeSuite) -> PlanWithResults:
    losses = "[softmax, center]\nreference: softmax"
    return make_suite("one", losses, {"softmax": 2.0, "center": 1.0})


def not_judged(found: PlanWithResults) -> PlanWithResults:
    metrics = tuple(metric.model_copy(update={"judged": False}) for metric in found.plan.metrics)
    return replace(found, plan=replace(found.plan, metrics=metrics))


def test_a_metric_that_is_not_judged_has_values_without_verdicts_and_best_rows(
    found: PlanWithResults,
) -> None:
    [judged], [table] = make_tables(found), make_tables(not_judged(found))
    assert judged.verdicts is not None
    assert table.verdicts is None
    assert table.ranks is None
    assert [cell.best for cell in judged.cells.values()] == [False, True]
    assert not any(cell.best for cell in table.cells.values())
    values = [cell.summary.values for cell in table.cells.values()]
    assert values == [cell.summary.values for cell in judged.cells.values()]


def test_baselines_have_no_metric_that_is_not_judged(found: PlanWithResults) -> None:
    assert [metric.name for metric in metrics_of(found.plan)] == ["error"]
    assert metrics_of(not_judged(found).plan) == []


def test_suites_are_not_ranked_by_a_metric_that_is_not_judged(found: PlanWithResults) -> None:
    assert rank_suites([found], ["error"])
    with pytest.raises(RequestError, match="no suite ranks rows by it"):
        rank_suites([not_judged(found)], ["error"])
