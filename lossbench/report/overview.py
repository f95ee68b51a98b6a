"""Many metrics of one variant in one table: a line a metric, a column a row of the suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lossbench.analysis.statistics import Summary
from lossbench.analysis.tables import Cell, Table
from lossbench.planning.rows import Row

FEWEST_METRICS = 2
MOST_ROWS = 4
"""More columns than these do not fit a terminal beside the metrics' names."""


@dataclass(frozen=True)
class Overview:
    """All metrics on the test set.

    Attributes:
        title: What stands above it.
        rows: The suite's rows: the columns here.
        lines: Each metric with its unit, and its cells, None where a row was not measured.
    """

    title: str
    rows: tuple[Row, ...]
    lines: tuple[tuple[str, tuple[Cell | None, ...]], ...]

    @property
    def legend(self) -> str:
        """What the marks mean."""
        return (
            "Bold: the best mean of the line, where its 95 % t interval touches no worse row's; "
            "with one seed nothing is bold."
        )

    @property
    def has_published(self) -> bool:
        return any(cell and cell.published for _, cells in self.lines for cell in cells)


def make_overview(tables: Sequence[Table]) -> Overview | None:
    """Lay out a suite's tables in one; None where there are several variants, one metric, or
    many rows.
    """
    tested = [table for table in tables if not table.held_out]
    if len(tested) < FEWEST_METRICS or any(len(table.variants) > 1 for table in tested):
        return None
    rows = tested[0].rows
    if len(rows) > MOST_ROWS:
        return None
    [variant] = tested[0].variants
    lines = tuple(
        (
            f"{table.label}, {table.unit}" if table.unit else table.label,
            _marked([table.cells.get((variant, row.label)) for row in rows]),
        )
        for table in tested
    )
    seeds = tested[0].seeds
    spread = "1 seed" if seeds == 1 else f"mean ± std over {seeds} seeds"
    return Overview(f"All measurements; {spread}", rows, lines)


def _marked(cells: Sequence[Cell | None]) -> tuple[Cell | None, ...]:
    """Keep the mark of a best cell only where it stands clear of every row that is not best.

    In a table of many metrics a mark on every line would tell of differences that are noise.
    """
    others = [cell for cell in cells if cell and not cell.best and cell.summary.mean is not None]
    return tuple(
        replace(cell, best=bool(others) and all(_apart(cell.summary, o.summary) for o in others))
        if cell and cell.best
        else cell
        for cell in cells
    )


def _apart(a: Summary, b: Summary) -> bool:
    """Whether the intervals of two means do not touch; without an interval that is not known."""
    if a.interval is None or b.interval is None:
        return False
    return a.interval.low > b.interval.high or b.interval.low > a.interval.high
