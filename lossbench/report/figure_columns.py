"""Columns whose own figures a report has: all, or with many columns the first ones."""

from __future__ import annotations

from collections.abc import Sequence

from lossbench.planning.plan import Plan

MANY_COLUMNS = 8
"""With more columns than these, only the first ones have figures of their own."""
FIRST_COLUMNS = 3


def columns_with_figures(plan: Plan, *, every: bool) -> tuple[str, ...]:
    """Columns whose forest plot, learning curves, cost and so on are drawn.

    Args:
        plan: Plan of the suite.
        every: Whether the user asks for the figures of all columns.
    """
    names = tuple(plan.suite.variants)
    return names if every or len(names) <= MANY_COLUMNS else names[:FIRST_COLUMNS]


def describe_columns_without_figures(plan: Plan, drawn: Sequence[str]) -> str:
    """Sentence on the figures that were left out; empty if there are none."""
    count = len(plan.suite.variants)
    if len(drawn) == count:
        return ""
    return (
        f"Of {count} columns only the first {len(drawn)} have figures of their own. "
        "`--figures all` draws those of all columns, `--only 'COLUMN/*'` those of one."
    )
