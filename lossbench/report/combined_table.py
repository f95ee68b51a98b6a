"""All metrics of a suite without variants in one table: one line per metric, one column per row."""

from __future__ import annotations

from collections.abc import Sequence

from lossbench.analysis.statistics import Summary
from lossbench.analysis.tables import Cell, Table
from lossbench.report.display import Column, DisplayCell, DisplayTable
from lossbench.report.metric_tables import format_published
from lossbench.report.value_text import (
    describe_values,
    format_count,
    format_value,
    label_with_unit,
)

MIN_METRICS = 2
MAX_ROWS = 4
"""More columns than these do not fit a terminal next to the metrics' names."""
LEGEND = (
    "Bold: the best mean of the line, where its 95 % t interval touches no worse row's; "
    "with one seed nothing is bold."
)


def combine_metrics(tables: Sequence[Table]) -> DisplayTable | None:
    """All metrics on the test set in one table.

    Returns:
        None where there are several variants, one metric only, or too many rows.
    """
    tested = [table for table in tables if not table.held_out]
    if len(tested) < MIN_METRICS or any(len(table.variants) > 1 for table in tested):
        return None
    rows = tested[0].rows
    if len(rows) > MAX_ROWS:
        return None
    [variant] = tested[0].variants
    lines = []
    for table in tested:
        cells = [table.cells.get((variant, row.label)) for row in rows]
        lines.append(
            (DisplayCell(label_with_unit(table)), *(_display(cell, cells) for cell in cells))
        )
    return DisplayTable(
        f"All measurements; {describe_values(tested[0])}",
        (Column("metric", "text"), *(Column(row.label) for row in rows)),
        tuple(lines),
        sortable=False,
        legend=LEGEND,
    )


def _display(cell: Cell | None, line: Sequence[Cell | None]) -> DisplayCell:
    if cell is None:
        return DisplayCell()
    published = format_published(cell.published)
    return DisplayCell(
        format_value(cell),
        "best" if _clearly_best(cell, line) else "",
        detail=f"published {published}" if published else "",
        count="" if cell.summary.complete else format_count(cell.summary),
        incomplete=not cell.summary.complete,
    )


def _clearly_best(cell: Cell, line: Sequence[Cell | None]) -> bool:
    """Whether a best cell's interval touches that of no cell that is not best.

    In a table of many metrics, a mark on every line would point at differences that are noise.
    """
    if not cell.best:
        return False
    others = [other.summary for other in line if other and not other.best]
    values = [summary for summary in others if summary.mean is not None]
    return bool(values) and all(_disjoint(cell.summary, other) for other in values)


def _disjoint(a: Summary, b: Summary) -> bool:
    """Whether the intervals of two means do not touch; False where one has no interval."""
    if a.interval is None or b.interval is None:
        return False
    return a.interval.low > b.interval.high or b.interval.low > a.interval.high
