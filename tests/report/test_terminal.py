"""Tables for the terminal."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.display import Column, DisplayCell, DisplayTable, plain_cells
from lossbench.report.terminal import terminal_parts, terminal_table
from tests.report.synthetic_report import in_terminal


def test_terminal_table_shows_labels_literally(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan("losses: [softmax, {lgm: {covariance: {grid: ['[red]', '[b]']}}}]\n")
    assert "lgm(covariance=[red])" in in_terminal(plan, run_all(plan))


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (100, "interval seeds to loss variant verdict difference (Holm) p (Holm) decide"),
        (75, "interval seeds to loss variant verdict difference (Holm) decide"),
        (60, "interval loss variant verdict difference (Holm)"),
    ],
)
def test_a_narrow_terminal_has_fewer_columns_and_no_cut_heading(
    make_plan: Callable[..., Plan], run_all: Callable, width: int, headings: str
) -> None:
    plan = make_plan(
        "variants: {2-D: {}, 32-D: {model: {feature_dim: 3}}}\nreference: softmax\n"
        "losses: [softmax, {lgm: {alpha: {grid: [0.3, 1.0]}}}]\n"
    )
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(terminal_table(PlanWithResults(plan, run_all(plan))))
    text = console.export_text()
    head = text.partition("percentage points\n")[2].partition("lgm")[0]
    assert head.split() == headings.split()
    assert all(word in text for word in ("lgm(alpha=0.3)", "verdict"))


def test_headings_of_numbers_wrap_before_text_does() -> None:
    columns = (Column("loss", "text"), Column("verdict", "text"), Column("seeds to decide"))
    row = (*plain_cells(["softmax", "undecided (identical on every seed)"]), DisplayCell("12"))
    table = DisplayTable("Difference to softmax", columns, (row,), subordinate=True)
    console = Console(width=60, file=io.StringIO(), record=True)
    for part in terminal_parts(table):
        console.print(part)
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert lines[1] == "Difference to softmax"
    assert lines[2].endswith("seeds to")
    assert lines[4] == "softmax  undecided (identical on every seed)        12"
