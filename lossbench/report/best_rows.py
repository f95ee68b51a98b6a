"""The best row of each column, and whether it differs from the reference, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lossbench.analysis.number_format import (
    difference_unit,
    format_number,
    format_signed,
    is_percentage,
    with_unit,
)
from lossbench.analysis.tables import Cell, Table
from lossbench.report.value_text import format_count, format_value
from lossbench.report.verdict_text import describe_verdict, find_verdict, format_p, verdict_reason

MAX_NAMED = 3


@dataclass(frozen=True)
class BestRow:
    """Best row of one column of the first table.

    Attributes:
        variant: Name of the column; empty where there is one only.
        label: Labels of the best rows.
        text: Their value, and how it compares with the reference.
        outcome: Outcome of the verdict; `none` where there is none.
    """

    variant: str
    label: str
    text: str
    outcome: str = "none"


def find_best_rows(tables: Sequence[Table]) -> list[BestRow]:
    """One per column of the first table of the test set, or of the held-out part without one."""
    if not tables:
        return []
    table = next((t for t in tables if not t.held_out), tables[0])
    return [_best_row(table, variant) for variant in table.variants]


def _best_row(table: Table, variant: str) -> BestRow:
    column = variant if table.has_variants else ""
    here = [cell for cell in table.cells.values() if cell.variant == variant]
    complete = [cell for cell in here if cell.summary.complete]
    if table.held_out:
        chosen = [cell.row.label for cell in here if cell.chosen]
        text = f"chosen so far: {', '.join(chosen) or 'nothing'}"
        return BestRow(column, "no result on the test set yet", text)
    best = [cell for cell in here if cell.best]
    if not best:
        if len(here) == 1 and complete:
            value = _with_unit(table, format_value(here[0]))
            return BestRow(column, here[0].row.label, f"is the only row: {value}")
        text = f"{len(complete)} of {len(here)} rows have results of all seeds"
        return BestRow(column, "no best row yet", text)
    label = _some([cell.row.label for cell in best])
    left_out = [f"{c.row.label} ({format_count(c.summary)})" for c in here if c not in complete]
    left = f"; not compared: {_some(left_out)}" if left_out else ""
    if len(best) > 1:
        value = _with_unit(table, format_number(best[0].summary.mean, table.spec))
        text = f"have the same best mean at the shown precision: {value}{left}"
        return BestRow(column, label, text)
    compared, outcome = _compare_with_reference(table, best[0])
    value = _with_unit(table, format_value(best[0]))
    return BestRow(column, label, f"has the best mean: {value}{compared}{left}", outcome)


def _compare_with_reference(table: Table, best: Cell) -> tuple[str, str]:
    """How the best row compares with the reference: words, and the verdict's outcome."""
    if table.verdicts is None:
        return "; the suite names no reference row", "none"
    verdict = find_verdict(table, best.variant, best.row.label)
    if verdict is None:
        beaten = any(
            v.outcome == "worse" for v in table.verdicts.listed if v.variant == best.variant
        )
        rest = "" if beaten else ", and no other row differs significantly"
        return f"; it is the reference row{rest}", "none"
    if verdict.p_holm is None:
        return (
            f"; no verdict on its difference to {verdict.reference}: {verdict_reason(verdict)}",
            "none",
        )
    gap = format_signed(verdict.difference.mean, table.spec)
    gap = with_unit(gap, difference_unit(table.unit))
    outcome = f"{describe_verdict(verdict)}, p (Holm) {format_p(verdict.p_holm)}"
    return f"; difference to {verdict.reference} {gap} ({outcome})", verdict.outcome


def _with_unit(table: Table, value: str) -> str:
    """`1.17 ± 0.02 %`; the sentence below has the whole unit, `% of test images`."""
    return with_unit(value, "%" if is_percentage(table.unit) else table.unit)


def _some(names: Sequence[str]) -> str:
    """The first names, and the number of the others."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
