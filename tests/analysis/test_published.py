"""Published numbers: labels, columns and metrics that they belong to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib import resources
from typing import Any

import pytest

from lossbench.analysis.published import ADDED_LATER, label_matches_row, published_problems
from lossbench.analysis.tables import make_tables
from lossbench.losses import LOSSES
from lossbench.planning.plan import Plan
from lossbench.planning.rows import Row
from lossbench.planning.selection import PlanWithResults
from lossbench.registry import OMIT_DEFAULT
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
        ("softmax", "softmax", {"class_weights": "balanced"}, False),
        ("softmax(class_weights=balanced)", "softmax", {"class_weights": "balanced"}, True),
        ("softmax(class_weights=balanced)", "softmax", {}, False),
        ("lgm(covariance=diagonal)", "lgm", {"covariance": "diagonal"}, True),
        ("lgm(alpha=1.0) error", "lgm", {"alpha": 1.0}, False),
    ],
)
def test_published_labels_match_by_name_and_number(
    label: str, name: str, params: dict[str, Any], fits: bool
) -> None:
    assert label_matches_row(label, Row("any", Component(name=name, params=params), {})) is fits


def test_a_published_label_names_all_parameters_that_were_added_later() -> None:
    added = {
        name
        for loss in LOSSES
        for name, field in LOSSES[loss].parameters.model_fields.items()
        if OMIT_DEFAULT in field.metadata
    }
    assert added == ADDED_LATER


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


def published_file() -> dict[str, Any]:
    text = resources.files("lossbench.analysis").joinpath("published.json")
    return json.loads(text.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_every_published_number_is_a_percentage_with_a_source() -> None:
    file = published_file()
    tables = {name: table for name, table in file.items() if not name.startswith("_")}
    from_other_papers = {name for name in tables if not re.match(r"table\d|figure\d", name)}
    assert set(file["_sources"]) == from_other_papers
    for table in tables.values():
        for column in table.values():
            for mean, std in column.values():
                assert 0 <= mean <= 100
                assert std is None or 0 < std < 5


@pytest.mark.parametrize(
    ("label", "accuracies"),
    [
        ("softmax", (90.36, 75.90, 60.28, 40.90)),
        ("focal(gamma=0.5)", (89.63, 74.59, 57.55, 38.91)),
        ("gce(q=0.7)", (89.38, 87.37, 83.33, 72.00)),
        ("sce(alpha=0.1,beta=1.0)", (91.30, 88.05, 82.06, 66.08)),
        ("nce_rce(alpha=1.0,beta=1.0)", (90.76, 89.22, 86.02, 79.78)),
    ],
)
def test_errors_on_noisy_labels_are_those_of_the_published_accuracies(
    label: str, accuracies: tuple[float, ...]
) -> None:
    table = published_file()["ma2020_symmetric_noise_error"]
    assert list(table) == ["clean", "noise 20", "noise 40", "noise 60"]
    errors = [column[label][0] for column in table.values()]
    assert errors == pytest.approx([100 - accuracy for accuracy in accuracies], abs=1e-9)
