"""Tables for the terminal."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console

from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.display import Column, DisplayCell, DisplayTable, plain_cells
from lossbench.report.metric_tables import verdict_table
from lossbench.report.terminal import terminal_parts
from tests.report.synthetic_report import in_terminal


def test_terminal_table_shows_labels_literally(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan("losses: [softmax, {lgm: {covariance: {grid: ['[red]', '[b]']}}}]\n")
    assert "lgm(covariance=[red])" in in_terminal(plan, run_all(plan))


def test_a_narrow_terminal_has_fewer_columns_and_no_cut_heading(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan(
        "variants: {2-D: {}, 32-D: {model: {feature_dim: 3}}}\nreference: softmax\n"
        "losses: [softmax, {lgm: {alpha: {grid: [0.3, 1.0]}}}]\n"
    )
    [table] = make_tables(PlanWithResults(plan, run_all(plan)))
    headings = {}
    for width in (100, 75, 60):
        console = Console(width=width, file=io.StringIO(), record=True)
        for part in terminal_parts(verdict_table(table, [])):
            console.print(part)
        text = console.export_text()
        headings[width] = text.partition("percentage points\n")[2].partition("lgm")[0].split()
        assert "lgm(alpha=0.3)" in text
    few = ["interval", "loss", "variant", "verdict", "difference", "(Holm)"]
    assert headings[60] == few
    assert headings[75] == ["interval", "seeds", "to", *few[1:], "decide"]
    assert headings[100] == ["interval", "seeds", "to", *few[1:], "p", "(Holm)", "decide"]


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


def test_columns_that_do_not_fit_follow_in_further_tables() -> None:
    names = [f"column {k}" for k in range(7)]
    columns = (Column("loss", kind="text"), *(Column(name, kind="number") for name in names))
    rows = tuple(
        (DisplayCell(row), *(DisplayCell(f"{k}{k}.00 ± 0.{k}0") for k in range(7)))
        for row in ("softmax", "label_smoothing")
    )
    tables = {}
    for width in (60, 200):
        console = Console(width=width, file=io.StringIO(), record=True)
        for part in terminal_parts(DisplayTable("", columns, rows)):
            console.print(part)
        text = console.export_text()
        assert all(len(line) <= width for line in text.splitlines())
        values = [f"{k}{k}.00 ± 0.{k}0" for k in range(7)]
        assert all(text.count(whole) == 2 for whole in values)
        assert all(text.count(name) == 1 for name in names)
        tables[width] = text.count("label_smoothing")
    assert tables == {60: 4, 200: 1}
