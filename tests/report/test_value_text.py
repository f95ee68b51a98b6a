"""Values, counts, titles and legends in words."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from lossbench.analysis.statistics import Summary
from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report import render
from lossbench.report.metric_tables import value_table
from lossbench.report.terminal import terminal_parts
from lossbench.report.value_text import (
    column_heading,
    format_cell_interval,
    format_count,
    format_seed_values,
    format_value,
    table_legend,
    table_title,
)
from tests.analysis.made_up_tables import NAN, TWO, cell, errors, only_table
from tests.report.synthetic_report import GRID, in_terminal


def test_values_and_titles_in_words(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(TWO)
    table = only_table(plan, fill(plan, errors([2, 2.1, 2.2], [3, 3, 3], [1, 1.2, 1.1])))
    best = cell(table, "lgm(alpha=1)")
    assert format_value(best) == "1.10 ± 0.10"
    assert format_count(best.summary) == "n=3"
    assert format_seed_values(best) == "1.00, 1.20, 1.10"
    assert format_cell_interval(best) == "95 % 0.85 to 1.35"
    assert format_cell_interval(cell(table, "lgm(alpha=0)")) == ""  # equal by chance
    assert table_title(table) == "Test error, % of test images; mean ± std over 3 seeds"
    assert column_heading(table, "default") == "Test error"


@pytest.mark.parametrize(
    ("low", "count", "value"),
    [
        ([0.1, 0.1, NAN], "n=2, 1 of 3 diverged", "0.10 ± 0.00"),
        ([0.1, 0.1, None], "2/3 seeds", "0.10 ± 0.00"),
        ([0.1, NAN, None], "n=1, 1 of 3 diverged, 2/3 seeds", "0.10"),
        ([NAN, NAN, NAN], "n=0, 3 of 3 diverged", "–"),
        ([None, None, None], "0/3 seeds", "–"),
    ],
)
def test_an_incomplete_row_has_its_count_in_every_format(
    make_plan: Callable[..., Plan], fill: Callable, low: Any, count: str, value: str
) -> None:
    plan = make_plan(TWO)
    results = fill(plan, errors(low, [3, 3, 3], [2, 2, 2]))
    table = only_table(plan, results)
    row = cell(table, "softmax")
    assert (format_count(row.summary), format_value(row)) == (count, value)
    for format in ("markdown", "latex"):
        assert count in render(PlanWithResults(plan, results), format)
    assert count in in_terminal(plan, results)


def test_the_legend_of_a_selection(make_plan: Callable[..., Plan], run_all: Callable) -> None:
    plan = make_plan(GRID)
    held_out, test = make_tables(PlanWithResults(plan, run_all(plan)))
    assert table_legend(held_out) == "Chosen: the best mean of its loss in this column."
    assert table_legend(test).startswith("Bold: best mean of the column")


def test_rows_chosen_in_one_column_have_no_cell_in_the_other(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(
        "variants: {A: {model: {feature_dim: 2}}, B: {model: {feature_dim: 8}}}\n"
        "selection: {holdout: 0.2}\nlosses: [{center: {weight: {grid: [0.1, 0.2]}}}]\n"
    )
    values = {
        "A/center(weight=0.1)": [1] * 3,
        "A/center(weight=0.2)": [2] * 3,
        "B/center(weight=0.1)": [2] * 3,
        "B/center(weight=0.2)": [1] * 3,
    }
    _, test = make_tables(PlanWithResults(plan, fill(plan, values)))
    assert set(test.cells) == {("A", "center(weight=0.1)"), ("B", "center(weight=0.2)")}
    assert format_count(cell(test, "center(weight=0.1)", "A").summary) == "0/3 seeds"
    assert "not chosen on the held-out part" in table_legend(test)


def test_cells_with_different_numbers_of_seeds_show_them(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(f"seeds: [0, 1, 2, 3]\n{TWO}")
    results = fill(plan, errors([2, 2.1, 2.2, 2], [3, 3, 3, 3.1], [1, 1.2, 1.1, 1.3]))
    table = only_table(plan, results)
    cells = {
        key: replace(cell, summary=Summary(cell.summary.values[:2], seeds=(0, 1)))
        if key[1] == "lgm(alpha=0)"
        else cell
        for key, cell in table.cells.items()
    }
    shown = value_table(replace(table, cells=cells))
    assert shown.title == "Test error, % of test images; mean ± std over 2 to 4 seeds"
    assert [row[1].count for row in shown.rows] == ["n=4", "n=2", "n=4"]
    assert all(row[1].show_count and not row[1].incomplete for row in shown.rows)
    assert not any(row[1].show_count for row in value_table(table).rows)
    console = Console(width=80, file=io.StringIO(), record=True)
    for part in terminal_parts(shown):
        console.print(part)
    assert "(n=2)" in console.export_text()
