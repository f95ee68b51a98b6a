"""Tables for the terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console

from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report import terminal_table


def in_terminal(plan: Plan, results: Any) -> str:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(terminal_table(PlanWithResults(plan, results)))
    return console.export_text()


def test_terminal_table_shows_labels_literally(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan("losses: [softmax, {lgm: {covariance: {grid: ['[red]', '[b]']}}}]\n")
    assert "lgm(covariance=[red])" in in_terminal(plan, run_all(plan))
