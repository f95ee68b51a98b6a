"""Published numbers: labels, columns and metrics that they belong to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lossbench.analysis.published import label_matches_row, published_problems
from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.rows import Row
from lossbench.planning.selection import PlanWithResults
from lossbench.suite.schema import Component
from tests.analysis.made_up_tables import MNIST, cell, only_table


@pytest.mark.parametrize(
    ("label", "name", "params", "fits"),
    [
        ("lgm(alpha=1.0)", "lgm", {"alpha": 1, "lambda": 0.1}, True),
        ("lgm(alpha=1)", "lgm", {"alpha": 1.0, "lambda": 0.1}, True),
        ("lgm(alpha=1.0)", "lgm", {"alpha": 0.3, "lambda": 0.1}, False),
        ("lgm(alpha=1.0,lambda=0.1)", "lgm", {"alpha": 1.0, "lambda": 0.1}, True),
        ("lgm(beta=1.0)", "lgm", {"alpha": 1.0}, False),
        ("softmax", "softmax", {}, True),
        ("softmax", "l_softmax", {"margin": 4}, False),
        ("lgm(covariance=diagonal)", "lgm", {"covariance": "diagonal"}, True),
        ("lgm(alpha=1.0) error", "lgm", {"alpha": 1.0}, False),
    ],
)
def test_published_labels_match_by_name_and_number(
    label: str, name: str, params: dict[str, Any], fits: bool
) -> None:
    assert label_matches_row(label, Row("any", Component(name=name, params=params), {})) is fits


def test_published_numbers_are_in_the_column_of_their_name_only(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan(MNIST + "losses: [softmax, triplet, {lgm: {alpha: 1}}]\n")
    results = run_all(plan)
    table = only_table(plan, results)
    number = cell(table, "lgm", "2-D").published
    assert number is not None
    assert (number.mean, number.std) == (1.17, 0.01)
    assert cell(table, "triplet", "2-D").published is None
    assert not table.has_published("own")


def test_an_ambiguous_published_number_is_not_shown(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan(MNIST + "losses: [softmax, {center: {weight: {grid: [0.1, 0.2]}}}]\n")
    table = only_table(plan, run_all(plan))
    assert cell(table, "softmax", "2-D").published is not None
    assert cell(table, "center(weight=0.1)", "2-D").published is None


def test_published_errors_are_of_no_other_metric(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan(MNIST + "evaluate: [error, top5_error]\nlosses: [softmax, triplet]\n")
    first, second = make_tables(PlanWithResults(plan, run_all(plan)))
    assert (first.metric, second.metric) == ("error", "top5_error")
    assert cell(first, "softmax", "2-D").published is not None
    assert cell(second, "softmax", "2-D").published is None


def test_a_table_of_the_other_direction_is_refused(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan("variants: {0.49M: {}}\nlosses: [softmax]\n")
    suite = plan.suite.model_copy(update={"published": {"error": "table5_lfw_accuracy"}})
    [problem] = published_problems(suite, plan.metrics)
    assert problem.message == (
        "of 'error', smaller values are better, but of the numbers of table5_lfw_accuracy, larger "
        "values are better"
    )
