"""The headline: the best row of each column, compared with the reference row."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.best_rows import BestRow, find_best_rows
from tests.analysis.made_up_tables import NAN, TWO, errors

COMPARED = f"reference: softmax\n{TWO}"
REFERENCE, WORSE, BETTER = [2.0, 2.1, 1.9], [3.0, 3.2, 2.9], [1.0, 1.12, 0.9]


def best_row(plan: Plan, results: dict) -> BestRow:
    [best] = find_best_rows(make_tables(PlanWithResults(plan, results)))
    return best


@pytest.mark.parametrize(
    ("values", "label", "text", "outcome"),
    [
        (
            (REFERENCE, WORSE, BETTER),
            "lgm(alpha=1)",
            "has the best mean: 1.01 ± 0.11 %; difference to softmax −0.99 percentage points "
            "(better, p (Holm) < 0.001)",
            "better",
        ),
        (
            (REFERENCE, [NAN] * 3, BETTER),
            "lgm(alpha=1)",
            "has the best mean: 1.01 ± 0.11 %; difference to softmax −0.99 percentage points "
            "(better, p (Holm) < 0.001); not compared: lgm(alpha=0) (n=0, 3 of 3 diverged)",
            "better",
        ),
        (
            ([NAN] * 3, WORSE, BETTER),
            "lgm(alpha=1)",
            "has the best mean: 1.01 ± 0.11 %; no verdict on its difference to softmax: "
            "softmax: all 3 seeds diverged; not compared: softmax (n=0, 3 of 3 diverged)",
            "none",
        ),
        (
            (REFERENCE, WORSE, REFERENCE),
            "softmax, lgm(alpha=1)",
            "have the same best mean at the shown precision: 2.00 %",
            "none",
        ),
        (
            ([NAN, 1, 1],) * 3,
            "no best row yet",
            "0 of 3 rows have results of all seeds",
            "none",
        ),
    ],
)
def test_headline(
    make_plan: Callable[..., Plan],
    fill: Callable,
    values: tuple[list[float], ...],
    label: str,
    text: str,
    outcome: str,
) -> None:
    plan = make_plan(COMPARED)
    assert best_row(plan, fill(plan, errors(*values))) == BestRow("", label, text, outcome)


def test_a_reference_row_that_is_best(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(COMPARED)
    best = best_row(plan, fill(plan, errors(REFERENCE, WORSE, [2.1, 2.6, 1.7])))
    assert best.text == "has the best mean: 2.00 ± 0.10 %; it is the reference row"
    best = best_row(plan, fill(plan, errors(REFERENCE, [2.9, 2.1, 2.4], [2.1, 2.6, 1.7])))
    assert best.text.endswith("it is the reference row, and no other row differs significantly")
