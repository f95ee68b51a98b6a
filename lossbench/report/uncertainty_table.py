"""What the stored predictions say about the finite test set, as a table."""

from __future__ import annotations

from lossbench.analysis.number_format import format_signed, format_signed_interval
from lossbench.analysis.predictions import Examined, TestSet
from lossbench.report.display import (
    Column,
    DisplayCell,
    DisplayTable,
    name_cells,
    name_columns,
)

TITLE = "Uncertainty from the test set"
HEADINGS = (
    "error (95 % over images)",
    "difference (95 % over images)",
    "McNemar",
    "spread from the test set",
)


def uncertainty_table(test_set: TestSet, has_columns: bool) -> DisplayTable:
    """One line per cell with stored predictions."""
    rows = tuple(
        (*name_cells(entry.row, entry.variant, has_columns), *_cells(entry))
        for entry in test_set.listed
    )
    columns = (*name_columns(has_columns), *map(Column, HEADINGS))
    return DisplayTable("", columns, rows, notes=test_set.notes)


def _cells(entry: Examined) -> list[DisplayCell]:
    """Cells under `HEADINGS`."""
    over, gap, spread = entry.interval, entry.difference_interval, entry.spread
    mcnemar, share = DisplayCell(), DisplayCell()
    if entry.mcnemar:
        mcnemar = DisplayCell(entry.mcnemar_text, detail=f"of {entry.mcnemar_seeds}")
    if spread:
        low, high = 100 * spread.interval.low, 100 * spread.interval.high
        share = DisplayCell(
            f"{spread.test_set:.2f} of {spread.std:.2f}",
            detail=f"{100 * spread.share:.0f} %, {low:.0f} to {high:.0f}",
        )
    gap_interval = format_signed_interval(gap) if gap else ""
    interval = f"{over.low:.2f} to {over.high:.2f}" if over else ""
    return [
        DisplayCell(f"{entry.error:.2f}", detail=interval),
        DisplayCell(format_signed(entry.difference), detail=gap_interval),
        mcnemar,
        share,
    ]
