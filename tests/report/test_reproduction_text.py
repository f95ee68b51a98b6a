"""Comparisons with published numbers in every format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from lossbench.analysis.published import Published
from lossbench.analysis.reproduction import Reproduction
from lossbench.analysis.statistics import Interval
from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report import render, terminal_table
from lossbench.report.data_files import verdicts_json
from lossbench.report.reproduction_text import describe_reproduction, reproduction_notes
from tests.analysis.made_up_tables import MNIST

BODY = MNIST + "losses: [softmax, triplet, {lgm: {alpha: 1}}]\nmin_effect: {error: 0.1}\n"


@pytest.fixture
def found(make_plan: Callable[..., Plan], fill: Callable) -> PlanWithResults:
    """softmax is worse than the published 1.82, lgm reproduces 1.17."""
    plan = make_plan(BODY)
    values = {
        f"{variant}/{row}": [mean - 0.02, mean, mean + 0.02]
        for variant in ("2-D", "own")
        for row, mean in (("softmax", 2.32), ("triplet", 2.0), ("lgm", 1.18))
    }
    return PlanWithResults(plan, fill(plan, values))


def test_markdown_latex_and_the_terminal_show_the_outcome(found: PlanWithResults) -> None:
    worse, same = "worse, +0.50 (+0.4", "reproduced, +0.01 ("
    text = render(found, "markdown")
    assert f"1.82 ± 0.01 ({worse}" in text
    assert f"1.17 ± 0.01 ({same}" in text
    assert "reproduced if it lies within ± the margin (0.10 percentage points)" in text
    assert "Not corrected for several comparisons" in text
    latex = render(found, "latex")
    assert r"1.82 $\pm$ 0.01 {\footnotesize (worse, +0.50" in latex
    assert r"{\footnotesize (reproduced, +0.01" in latex
    assert "% Published numbers: measured minus published mean" in latex
    console = Console(file=io.StringIO(), width=200, record=True)
    console.print(terminal_table(found))
    shown = console.export_text()
    assert worse in shown
    assert same in shown


def test_csv_and_json_have_the_gap_with_its_interval(found: PlanWithResults) -> None:
    [softmax, triplet] = list(csv.DictReader(io.StringIO(render(found, "csv"))))[:2]
    assert float(softmax["published_gap"]) == pytest.approx(0.5)
    assert 0.4 < float(softmax["published_gap_low"]) < 0.5 < float(softmax["published_gap_high"])
    assert softmax["published_outcome"] == "worse"
    assert triplet["published_gap"] == triplet["published_outcome"] == ""
    tables = make_tables(found)
    [metric] = json.loads(verdicts_json(found.plan.suite, tables, None, {}))["metrics"]
    outcomes = {(p["variant"], p["row"]): p["outcome"] for p in metric["published"]}
    assert outcomes == {("2-D", "softmax"): "worse", ("2-D", "lgm"): "reproduced"}
    [softmax] = [p for p in metric["published"] if p["row"] == "softmax"]
    assert softmax["gap"] == pytest.approx(0.5)
    assert (softmax["mean"], softmax["std"], softmax["assumed_n"]) == (1.82, 0.01, 3)
    assert (softmax["measured_n"], softmax["margin"]) == (3, 0.1)


def test_the_notes_say_what_is_assumed(found: PlanWithResults) -> None:
    [table] = make_tables(found)
    [note] = reproduction_notes(table)
    assert "standard deviation of 3 trainings; where it is a standard error" in note
    assert "without ±" not in note
    exact = {
        key: replace(one, published=Published(one.published.mean, None), margin=None)
        for key, one in table.reproductions.items()
    }
    [note] = reproduction_notes(replace(table, reproductions=exact))
    assert "A published number without ± has no known spread" in note
    assert "margin" not in note
    assert reproduction_notes(replace(table, reproductions={})) == []


def test_a_gap_without_a_known_spread_has_no_outcome() -> None:
    number = Published(1.17, 0.01)
    alone = Reproduction(number, 1, 0.05, None, 0.1, "none")
    assert describe_reproduction(alone) == "+0.05, spread unknown"
    assert describe_reproduction(Reproduction(number, 0, None, None, 0.1, "none")) == ""
    assert describe_reproduction(None) == ""
    whole = Reproduction(number, 3, -0.05, Interval(-0.11, 0.01), 0.1, "undecided")
    assert describe_reproduction(whole) == "undecided, −0.05 (−0.11 to +0.01)"
