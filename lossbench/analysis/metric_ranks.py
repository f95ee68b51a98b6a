"""Ranks of the rows of one column by each metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lossbench.analysis.rank_tests import average_ranks
from lossbench.analysis.tables import Cell, Table

MIN_METRICS = MIN_ROWS = 3
"""With fewer metrics or rows, the tables are clearer than ranks."""
Unranked = Literal["diverged", "missing"]
"""Reason why a row has no rank: a trial diverged, or trials have no value."""


@dataclass(frozen=True)
class MetricRanks:
    """Ranks by one metric.

    Attributes:
        table: Table of the metric.
        ranks: Row label -> rank, 1 is best; equal means have the average of their ranks. Only
            complete cells are ranked.
        unranked: Label of each other row -> reason.
    """

    table: Table
    ranks: dict[str, float]
    unranked: dict[str, Unranked]


def metric_ranks(tables: Sequence[Table], variant: str) -> list[MetricRanks]:
    """Ranks of the rows by each metric on the test set that has a better direction and is not
    optimistic.

    Args:
        tables: Tables of all metrics.
        variant: Name of the column.

    Returns:
        One element per metric, in the order of the tables; none with fewer than three metrics, or
        fewer than three ranked rows in all of them.
    """
    here = [table for table in tables if variant in table.variants]
    judged = [t for t in here if t.judged and not t.held_out and not t.optimistic]
    found = [_ranks(table, variant) for table in judged]
    if len(found) < MIN_METRICS or max(len(one.ranks) for one in found) < MIN_ROWS:
        return []
    return found


def _ranks(table: Table, variant: str) -> MetricRanks:
    cells = [
        cell for row in table.rows if (cell := table.cells.get((variant, row.label))) is not None
    ]
    complete = [cell for cell in cells if cell.summary.complete]
    means = [cell.summary.mean or 0.0 for cell in complete]
    ranks = average_ranks([-mean for mean in means] if table.higher_is_better else means)
    return MetricRanks(
        table,
        {cell.row.label: float(rank) for cell, rank in zip(complete, ranks, strict=True)},
        {cell.row.label: _reason(cell) for cell in cells if not cell.summary.complete},
    )


def _reason(cell: Cell) -> Unranked:
    return "diverged" if cell.summary.diverged else "missing"
