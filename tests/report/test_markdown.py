"""Tables as Markdown."""

from __future__ import annotations

from collections.abc import Callable

from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report import render
from tests.analysis.made_up_tables import MNIST, TWO, errors


def test_markdown_is_a_pipe_table_with_the_best_in_bold(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(TWO)
    lines = render(
        PlanWithResults(plan, fill(plan, errors([2] * 3, [3] * 3, [1] * 3))), "markdown"
    ).splitlines()
    assert "| loss | Test error |" in lines
    assert "| lgm(alpha=1) | **1.00 ± 0.00** (n=3) |" in lines
    assert "| softmax | 2.00 ± 0.00 (n=3) |" in lines


def test_published_numbers_are_next_to_the_measured_ones(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan(MNIST + "losses: [softmax, triplet, {lgm: {alpha: 1}}]\n")
    found = PlanWithResults(plan, run_all(plan))
    assert "1.17 ± 0.01" in render(found, "markdown")
    assert r"1.17 $\pm$ 0.01" in render(found, "latex")
