"""Choices at the edge of searched ranges, searched lists and grids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lossbench.analysis.edges import EdgeChoice, edge_choices
from lossbench.assembly.check import check
from lossbench.planning.plan import Plan
from lossbench.planning.rows import Row
from lossbench.suite.load import load_suite

NOWHERE = Path("/nonexistent/data")
HEAD = """
suite: edges
dataset: digits
model: {name: digits_cnn, feature_dim: 2}
recipe: {epochs: 8, batch_size: 64, optimizer: {name: sgd, lr: 0.01}}
seeds: [0]
"""


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Plan]:
    """Losses in YAML -> a checked plan."""

    def make(losses: str) -> Plan:
        samples = ", samples: 4" if "search" in losses else ""
        file = tmp_path / "edges.yaml"
        file.write_text(
            f"{HEAD}selection: {{holdout: 0.2{samples}}}\nlosses: [{losses}]\n", encoding="utf-8"
        )
        return check(load_suite(file), NOWHERE)

    return make


def edge_of(plan: Plan, key: str, value: Any) -> EdgeChoice | None:
    """The edge, if one loss chose this value of a parameter; None if it is not at an edge."""
    loss = plan.losses[0].loss
    chosen = loss.model_copy(update={"params": {**loss.params, key: value}})
    choices = edge_choices(plan, {("default", loss.name): Row(loss.name, chosen, {key: value})})
    return next(choices, None)


@pytest.mark.parametrize(
    ("losses", "key", "value", "end"),
    [
        # a range: its outer 5 %, on its own scale
        ("center: {weight: {search: {low: 0.01, high: 1}}}", "weight", 0.1, ""),
        ("center: {weight: {search: {low: 0.01, high: 1}}}", "weight", 0.03, "lower"),
        ("center: {weight: {search: {low: 0.01, high: 1}}}", "weight", 0.94, ""),
        ("center: {weight: {search: {low: 0.01, high: 1}}}", "weight", 0.96, "upper"),
        ("center: {weight: {search: {low: 0.01, high: 1, log: true}}}", "weight", 0.03, ""),
        ("center: {weight: {search: {low: 0.01, high: 1, log: true}}}", "weight", 0.012, "lower"),
        ("center: {weight: {search: {low: 0.01, high: 1, log: true}}}", "weight", 0.76, ""),
        ("center: {weight: {search: {low: 0.01, high: 1, log: true}}}", "weight", 0.9, "upper"),
        # the parameter's own limits
        ("lgm: {alpha: {search: {low: 0, high: 3}}}", "alpha", 0.0, ""),
        ("lgm: {alpha: {search: {low: 0, high: 3}}}", "alpha", 0.1, ""),
        ("lgm: {alpha: {search: {low: 0, high: 3}}}", "alpha", 3.0, "upper"),
        ("center: {center_rate: {search: {low: 0.1, high: 1}}}", "center_rate", 1.0, ""),
        ("center: {center_rate: {search: {low: 0.1, high: 1}}}", "center_rate", 0.1, "lower"),
        ("lgm: {alpha: {grid: [0.0, 0.3, 1.0]}}", "alpha", 0.0, ""),
        ("lgm: {alpha: {grid: [0.0, 0.3, 1.0]}}", "alpha", 1.0, "largest"),
        ("l_softmax: {margin: {search: {low: 1, high: 4}}}", "margin", 1, ""),
        ("l_softmax: {margin: {search: {low: 1, high: 4}}}", "margin", 4, ""),
        ("l_softmax: {margin: {search: {low: 2, high: 3}}}", "margin", 2, "lower"),
        # values one by one, in any order
        ("center: {weight: {search: [1.0, 0.01, 0.1]}}", "weight", 0.01, "smallest"),
        ("center: {weight: {search: [1.0, 0.01, 0.1]}}", "weight", 0.1, ""),
        ("center: {weight: {grid: [1.0, 0.01, 0.1]}}", "weight", 1.0, "largest"),
        ("center: {weight: {grid: [1.0, 0.01, 0.1]}}", "weight", 0.1, ""),
        # an edge needs an order
        ("lgm: {covariance: {grid: [identity, diagonal]}}", "covariance", "diagonal", ""),
        ("lgm: {covariance: {search: [identity, diagonal]}}", "covariance", "identity", ""),
        ("lgm: {alpha_start: {grid: [null, 0.1, 0.2]}}", "alpha_start", 0.2, ""),
        ("triplet: {margin: {grid: [0.2, 0.5]}}, softmax", "margin", 0.5, "largest"),
    ],
)
def test_a_choice_at_the_edge(
    make: Callable[[str], Plan], losses: str, key: str, value: Any, end: str
) -> None:
    edge = edge_of(make(losses), key, value)
    if not end:
        assert edge is None
        return
    assert edge is not None
    assert edge.at_low == (end in ("lower", "smallest"))
    assert (edge.listed is None) == (end in ("lower", "upper"))


def test_an_edge_has_the_ends_and_the_number_of_values(make: Callable[[str], Plan]) -> None:
    plan = make("center: {weight: {grid: [0.01, 0.1, 1.0]}}")
    assert edge_of(plan, "weight", 0.01) == EdgeChoice(
        "default", "center", "weight", 0.01, 0.01, 1.0, at_low=True, listed=3
    )


def test_a_grid_keeps_its_edges_in_a_narrowed_plan(make: Callable[[str], Plan]) -> None:
    plan = make("center: {weight: {grid: [0.01, 0.1, 1.0]}}").narrowed("*weight=0.1*")
    assert edge_of(plan, "weight", 0.1) is None


def test_a_search_next_to_single_rows_of_its_loss(make: Callable[[str], Plan]) -> None:
    plan = make("center: {weight: {search: {low: 0.01, high: 1}}}, center: {weight: 0.003}")
    assert edge_of(plan, "weight", 0.5) is None
    edge = edge_of(plan, "weight", 0.003)
    assert edge is not None
    assert (edge.low, edge.high) == (0.003, 1)
