"""Several metrics of a variant in one table: one line per metric, one column per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lossbench.analysis.number_format import is_percentage
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
MAX_ROWS_ON_PAGE = 12
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
    if len({variant for table in tested for variant in table.variants}) > 1:
        return None
    if len(tested) < MIN_METRICS or len(tested[0].rows) > MAX_ROWS:
        return None
    return _combined(tested, tested[0].variants[0], "All measurements", label_with_unit)


def overview_tables(
    tables: Sequence[Table], title: str, max_rows: int = MAX_ROWS_ON_PAGE
) -> list[DisplayTable]:
    """One table per variant with all of these metrics, under short names.

    Args:
        tables: Tables on the test set.
        title: Beginning of the titles.
        max_rows: Largest number of rows of the suite.

    Returns:
        None of them for variants with a single metric, or with too many rows.
    """
    combined = []
    for variant, own in measured_by_variant(tables).items():
        if len(own) < MIN_METRICS or len(own[0].rows) > max_rows:
            continue
        named = f"{title} on {own[0].stage.images} images"
        named += f", {variant}" if own[0].has_variants else ""
        combined.append(_combined(own, variant, named, short_label))
    return combined


def measured_by_variant(tables: Sequence[Table]) -> dict[str, list[Table]]:
    """Variant -> tables of the metrics that are measured in it, in the plan's order."""
    if not tables:
        return {}
    variants = tables[0].found.plan.suite.variants
    own = {name: [table for table in tables if name in table.variants] for name in variants}
    return {name: listed for name, listed in own.items() if listed}


def short_label(table: Table) -> str:
    """`error, %` instead of `Test error, % of test images`."""
    unit = "%" if is_percentage(table.unit) else table.unit
    return f"{table.metric_label}, {unit}" if unit else table.metric_label


def _combined(
    tables: Sequence[Table], variant: str, title: str, label: Callable[[Table], str]
) -> DisplayTable:
    rows = tables[0].rows
    lines = []
    for table in tables:
        cells = [table.cells.get((variant, row.label)) for row in rows]
        shown = [_display(table, cell, cells) for cell in cells]
        lines.append((DisplayCell(label(table)), *shown))
    return DisplayTable(
        f"{title}; {describe_values(tables[0])}",
        (Column("metric", "text"), *(Column(row.label) for row in rows)),
        tuple(lines),
        sortable=False,
        legend=LEGEND,
    )


def _display(table: Table, cell: Cell | None, line: Sequence[Cell | None]) -> DisplayCell:
    if cell is None:
        return DisplayCell()
    published = format_published(cell.published)
    found = table.reproductions.get((cell.variant, cell.row.label))
    outcome = found.outcome if found and found.interval else ""
    uneven = len(table.planned_seeds) > 1
    return DisplayCell(
        format_value(cell),
        "best" if _clearly_best(cell, line) else "",
        detail=", ".join(filter(None, (f"published {published}" if published else "", outcome))),
        count=format_count(cell.summary) if uneven or not cell.summary.complete else "",
        incomplete=not cell.summary.complete,
        uneven=uneven,
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
