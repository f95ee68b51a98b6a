"""Columns and rows of several suites that a ranking compares."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from lossbench.analysis.tables import Cell, Table, make_tables
from lossbench.errors import RequestError
from lossbench.planning.rows import short_value
from lossbench.planning.selection import PlanWithResults

RowsByColumn = dict[str, dict[int, Cell]]
"""Label -> index of the column -> cell."""


@dataclass(frozen=True)
class RankedColumn:
    """One suite x variant x metric.

    Attributes:
        suite: Name of the suite.
        variant: Name of the variant.
        metric: Name of the metric.
        label: Label of the column: `mnist · 2-D · error`.
        unit: Unit of the values; empty without a unit.
        higher: Whether higher is better.
        changes: Differences of the suite from its file; see `Plan`.
    """

    suite: str
    variant: str
    metric: str
    label: str
    unit: str
    higher: bool
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ColumnsWithCells:
    """Columns that have results.

    Attributes:
        columns: Columns in the order of the suites.
        cells: Cells of each column.
        left_out: Messages on suites and columns without results.
    """

    columns: tuple[RankedColumn, ...]
    cells: tuple[tuple[Cell, ...], ...]
    left_out: tuple[str, ...]


def has_results(cell: Cell) -> bool:
    """Whether a seed of the cell finished or diverged."""
    return cell.summary.n + cell.summary.diverged > 0


def find_columns(suites: Sequence[PlanWithResults], metrics: Sequence[str]) -> ColumnsWithCells:
    """Columns with results on the test sets.

    Args:
        suites: Plan of each suite with its results.
        metrics: Names of metrics; empty for all that are not optimistic.

    Raises:
        RequestError: No column has results, or a metric is unknown.
    """
    judged = [metric for found in suites for metric in found.plan.metrics if metric.judged]
    known = list(dict.fromkeys(metric.name for metric in judged))
    unknown = [name for name in metrics if name not in known]
    if unknown:
        raise RequestError(
            f"--metric {unknown[0]}: no suite ranks rows by it; they have {', '.join(known)}"
        )
    columns, cells, left_out = [], [], []
    for found in suites:
        tables = [t for t in make_tables(found) if not t.held_out]
        if not tables:
            name = found.plan.suite.suite
            left_out.append(f"{name}: left out, nothing was chosen or tested yet")
        for table in tables:
            if table.metric not in (metrics or known) or (table.optimistic and not metrics):
                continue
            for variant in table.variants:
                here = _ranked_cells(table, variant)
                column = _column(table, variant)
                if any(map(has_results, here)):
                    columns.append(column)
                    cells.append(here)
                else:
                    left_out.append(f"{column.label}: left out, it has no result")
    if not columns:
        raise RequestError("nothing to rank: " + "; ".join(left_out or ["no column is left"]))
    return ColumnsWithCells(tuple(columns), tuple(cells), tuple(left_out))


def _ranked_cells(table: Table, variant: str) -> tuple[Cell, ...]:
    """Cells of a column; chosen rows represent their losses, so rows to compare are left out."""
    cells = tuple(c for c in table.cells.values() if c.variant == variant)
    compared = table.found.plan.compared
    return tuple(c for c in cells if c.row not in compared) or cells


def _column(table: Table, variant: str) -> RankedColumn:
    parts = [table.suite, *([variant] if table.has_variants else []), table.metric]
    [higher] = [m.higher_is_better for m in table.found.plan.metrics if m.name == table.metric]
    label = " · ".join(parts)
    return RankedColumn(
        table.suite, variant, table.metric, label, table.unit, higher, table.changes
    )


def match_rows(cells: Sequence[Sequence[Cell]]) -> tuple[RowsByColumn, list[str]]:
    """Match the rows of several columns.

    An entry with at most one row in every column, named by the suite or chosen on the held-out
    part, is one row. The rows of another entry are matched by their parameters. Suites that give
    one label to different losses have different rows.

    Args:
        cells: Cells of each column.

    Returns:
        The matched rows, and the entries that are one row although their parameters differ.
    """
    rows: RowsByColumn = {}
    changed = []
    losses: dict[str, dict[str, None]] = {}  # entry -> names of its losses
    for cell in (cell for column in cells for cell in column):
        losses.setdefault(cell.row.entry, {})[cell.row.loss.name] = None
    for entry, loss in ((entry, loss) for entry, names in losses.items() for loss in names):
        name = entry if len(losses[entry]) == 1 else f"{entry} [{loss}]"
        own = [
            [c for c in column if (c.row.entry, c.row.loss.name) == (entry, loss)]
            for column in cells
        ]
        distinct = {_params(cell): cell for column in own for cell in column}
        if all(len(column) < 2 for column in own):
            rows[name] = {i: column[0] for i, column in enumerate(own) if column}
            if len({_settings(cell) for column in own for cell in column}) > 1:
                changed.append(name)
            continue
        varied = [
            key
            for key in dict.fromkeys(key for c in distinct.values() for key in c.row.loss.params)
            if len({json.dumps(c.row.loss.params.get(key)) for c in distinct.values()}) > 1
        ]
        for params, first in distinct.items():
            values = _values(first, varied)
            rows[f"{name}({values})" if values else name] = {
                i: c for i, column in enumerate(own) for c in column if _params(c) == params
            }
    return rows, changed


def _params(cell: Cell) -> str:
    return json.dumps(cell.row.loss.params, sort_keys=True)


def _settings(cell: Cell) -> str:
    """Parameters and tuned recipe keys of a row."""
    return json.dumps([cell.row.loss.params, dict(cell.row.tuned)], sort_keys=True)


def _values(cell: Cell, varied: Sequence[str]) -> str:
    """`alpha=0.3,lambda=0.1`, without parameters that are left out at their default."""
    params = cell.row.loss.params
    return ",".join(f"{key}={short_value(params[key])}" for key in varied if key in params)
