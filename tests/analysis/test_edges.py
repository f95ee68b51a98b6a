"""Warnings of a choice at the edge: of searched ranges, searched lists and grids."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lossbench.analysis.edges import edge_warnings
from lossbench.assembly.check import check
from lossbench.planning.plan import Plan
from lossbench.planning.rows import Row
from lossbench.planning.search import Search
from lossbench.planning.selection import PlanWithResults
from lossbench.report.build import build_report
from lossbench.report.terminal import terminal_table
from lossbench.suite.load import load_suite
from tests.report.synthetic_report import result_of

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


def warning_of(plan: Plan, key: str, value: Any) -> str:
    """The warning where one loss chose this value of a parameter; empty if there is none."""
    some = plan.losses[0]
    loss = some.loss if isinstance(some, Search) else some
    chosen = loss.model_copy(update={"params": {**loss.params, key: value}})
    lines = edge_warnings(plan, {("default", loss.name): Row(loss.name, chosen, {key: value})})
    return lines[0] if lines else ""


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
    warning = warning_of(make(losses), key, value)
    assert bool(warning) == bool(end)
    assert end in warning


@pytest.mark.parametrize(
    ("losses", "key", "value", "text"),
    [
        (
            "center: {weight: {search: {low: 0.01, high: 1}}}",
            "weight",
            0.99,
            "default: center chose weight=0.99, at the upper end of the range searched, 0.01 to 1; "
            "the optimum may lie beyond: search again with a larger high",
        ),
        (
            "center: {weight: {grid: [0.01, 0.1, 1.0]}}",
            "weight",
            0.01,
            "default: center chose weight=0.01, the smallest of the 3 values given, 0.01 to 1; the "
            "optimum may lie beyond: add smaller values",
        ),
    ],
)
def test_the_warning_names_the_range_and_what_to_do(
    make: Callable[[str], Plan], losses: str, key: str, value: Any, text: str
) -> None:
    assert warning_of(make(losses), key, value) == text


def test_a_grid_keeps_its_edges_where_a_plan_is_narrowed(make: Callable[[str], Plan]) -> None:
    plan = make("center: {weight: {grid: [0.01, 0.1, 1.0]}}").narrowed("*weight=0.1*")
    assert warning_of(plan, "weight", 0.1) == ""


def test_a_search_beside_single_rows_of_its_loss(make: Callable[[str], Plan]) -> None:
    plan = make("center: {weight: {search: {low: 0.01, high: 1}}}, center: {weight: 0.003}")
    assert warning_of(plan, "weight", 0.5) == ""
    assert "0.003 to 1" in warning_of(plan, "weight", 0.003)


def test_the_warning_is_in_every_format(make: Callable[[str], Plan], tmp_path: Path) -> None:
    plan = make("center: {weight: {grid: [0.01, 0.1, 1.0]}}")
    errors = {"0.01": 9.0, "0.1": 8.0, "1": 5.0}
    results = {
        trial.identity: result_of(trial, errors[trial.row.partition("=")[2].rstrip(")")])
        for trial in plan.trials
    }
    build_report(PlanWithResults(plan, results), lambda *_: None, tmp_path, "lossbench run")
    seen = io.StringIO()
    Console(file=seen, width=300).print(terminal_table(PlanWithResults(plan, results)))
    texts = [(tmp_path / f"report.{end}").read_text(encoding="utf-8") for end in ("html", "md")]
    for text in (*texts, seen.getvalue()):
        assert "center chose weight=1, the largest of the 3 values given, 0.01 to 1" in text
