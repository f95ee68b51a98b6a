"""Cells and tables in words: values, counts, titles and legends."""

from __future__ import annotations

from collections.abc import Sequence

from lossbench.analysis.number_format import NOTHING, format_mean_std, format_number
from lossbench.analysis.statistics import Summary
from lossbench.analysis.tables import Cell, Table
from lossbench.planning.divergence import RULE

MAX_NAMED = 3
"""Number of names in a sentence; the others are counted."""


def format_value(cell: Cell) -> str:
    """`1.17 ± 0.02`."""
    return format_mean_std(cell.summary.mean, cell.summary.std, cell.spec)


def format_cell_interval(cell: Cell) -> str:
    """`95 % 1.12 to 1.22`; empty if the values have no spread."""
    interval = cell.summary.interval
    if interval is None:
        return ""
    low, high = format_number(interval.low, cell.spec), format_number(interval.high, cell.spec)
    return f"95 % {low} to {high}"


def format_seed_values(cell: Cell) -> str:
    """`1.15, 1.20, 1.16`, in seed order; empty without values."""
    return ", ".join(format_number(value, cell.spec) for value in cell.summary.values)


def format_count(summary: Summary) -> str:
    """Number of trials behind a value, and numbers of those without one."""
    s = summary
    parts = []
    if s.diverged or s.stopped or not s.missing:
        parts.append(f"n={s.n}")
    if s.diverged:
        parts.append(f"{s.diverged} of {s.planned} diverged")
    if s.stopped:
        parts.append(f"{s.stopped} of {s.planned} stopped early")
    if s.missing:
        parts.append(f"{s.planned - s.missing}/{s.planned} seeds")
    return ", ".join(parts)


def counted(count: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def join_names(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b, c and 13 more`."""
    if len(names) > MAX_NAMED + 1:
        return f"{', '.join(names[:MAX_NAMED])} and {len(names) - MAX_NAMED} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def table_title(table: Table) -> str:
    """`Test error, % of test images; mean ± std over 3 seeds`."""
    return f"{label_with_unit(table)}; {describe_values(table)}"


def label_with_unit(table: Table) -> str:
    """`Test error, % of test images`."""
    return f"{table.label}, {table.unit}" if table.unit else table.label


def counted_seeds(table: Table) -> str:
    """`3 seeds`, `3 to 12 seeds`."""
    least, most = table.planned_seeds[0], table.planned_seeds[-1]
    return counted(most, "seed") if least == most else f"{least} to {most} seeds"


def describe_values(table: Table) -> str:
    """`mean ± std over 3 seeds`; `1 seed`."""
    seeds = counted_seeds(table)
    return seeds if seeds == "1 seed" else f"mean ± std over {seeds}"


def column_heading(table: Table, variant: str) -> str:
    """Name of the column; the metric for a suite without variants."""
    return variant if table.has_variants else table.label


def table_legend(table: Table) -> str:
    """Meaning of the marks, and of divergence if there is any."""
    diverged = any(cell.summary.diverged for cell in table.cells.values())
    return " ".join([*_marks(table), RULE] if diverged else _marks(table))


def _marks(table: Table) -> list[str]:
    cells = table.cells.values()
    if any(cell.chosen for cell in cells):
        return ["Chosen: the best mean of its loss in this column."]
    parts = []
    if any(cell.best for cell in cells):
        parts.append(
            "Bold: best mean of the column at the shown precision, without a test; a row with "
            "diverged or missing trials is never bold."
        )
    if any(cell.summary.interval for cell in cells):
        parts.append("95 %: Student's t interval of the mean over seeds.")
    if len(table.cells) < len(table.rows) * len(table.variants):
        parts.append(f"{NOTHING}: not chosen on the held-out part.")
    return parts
