"""Better, worse, undecided: verdicts from results, against scipy."""

from __future__ import annotations

from collections.abc import Callable

from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults


def test_rows_not_tested_are_not_judged(make_plan: Callable[..., Plan], run_all: Callable) -> None:
    plan = make_plan(
        "selection: {holdout: 0.2}\nreference: softmax\n"
        "losses: [softmax, {center: {weight: {grid: [0.1, 0.2, 0.3]}}}]\n"
    )
    held_out, test = make_tables(PlanWithResults(plan, run_all(plan)))
    assert held_out.verdicts is None
    assert test.verdicts is not None
    assert [v.row for v in test.verdicts.listed] == ["center(weight=0.3)"]
