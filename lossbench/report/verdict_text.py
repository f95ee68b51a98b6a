"""Verdicts in words: numbers, titles, and the notes below a table."""

from __future__ import annotations

from collections.abc import Sequence

from lossbench.analysis.comparison import Floor, Verdict, Verdicts, exact_note
from lossbench.analysis.number_format import (
    NOTHING,
    PERCENT_SPEC,
    difference_unit,
    format_signed,
    is_percentage,
)
from lossbench.analysis.statistics import ALPHA, POWER
from lossbench.analysis.tables import Table


def format_p(p: float | None) -> str:
    """`< 0.001`, `0.025`, `0.37`."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{min(p, 1):.2g}" if p < 0.1 else f"{p:.2f}"


def find_verdict(table: Table, variant: str, row: str) -> Verdict | None:
    """The verdict on a cell, if it has one."""
    listed = table.verdicts.listed if table.verdicts else ()
    return next((v for v in listed if (v.variant, v.row) == (variant, row)), None)


def verdict_and_difference(verdict: Verdict | None, spec: str = PERCENT_SPEC) -> str:
    """`better, −0.31`; the reference row has no verdict."""
    if verdict is None:
        return NOTHING
    gap = verdict.difference.mean
    return verdict.outcome if gap is None else f"{verdict.outcome}, {format_signed(gap, spec)}"


def verdict_title(verdicts: Verdicts, unit: str) -> str:
    """`Against softmax, matched by seed, percentage points`."""
    differences = difference_unit(unit)
    of = f", {differences}" if differences else ""
    return f"Against {verdicts.reference}, matched by seed{of}"


def verdict_notes(table: Table) -> list[str]:
    """The test behind the verdicts, and the smallest difference that it could have detected."""
    verdicts = table.verdicts
    if verdicts is None:
        return []
    if not verdicts.listed:
        return [_why_no_verdicts(table, verdicts.reference)]
    if not verdicts.comparisons:
        return ["No verdicts: a spread needs two seeds that finished in both rows."]
    rule = f"A verdict needs p ≤ {ALPHA:g}, from a paired t test"
    if verdicts.comparisons > 1:
        rule += (
            f" corrected for {verdicts.comparisons} comparisons of this metric (Holm). "
            f"An interval may exclude 0 although the corrected p is above {ALPHA:g}"
        )
    lines = [f"{rule}."]
    if verdicts.floors:
        floors = "; ".join(
            f"{f'{floor.variant} ' if table.has_columns else ''}{_gap(table, floor)} "
            f"({floor.n} seeds, spread {floor.std:{table.spec}} of the differences, pooled over "
            f"{'1 row' if floor.rows == 1 else f'{floor.rows} rows'})"
            for floor in verdicts.floors
        )
        unit = difference_unit(table.unit)
        lines.append(
            f"Resolution: smallest true difference that is detected with {100 * POWER:.0f} % "
            f"power{f', in {unit}' if unit else ''}: {floors}."
        )
    note = exact_note(max(v.difference.n for v in verdicts.listed))
    return [*lines, note] if note else lines


def _why_no_verdicts(table: Table, reference: str) -> str:
    if not any(reference in (row.label, row.loss.name) for row in table.rows):
        return f"No verdicts: the reference row {reference} is not in this table."
    return f"No verdicts: no column has exactly one row {reference} and another row."


def _gap(table: Table, floor: Floor) -> str:
    """The smallest detectable difference; percentages cannot differ by more than 100."""
    if is_percentage(table.unit) and floor.gap > 100:
        return "none, since not even 100 would be"
    return f"{floor.gap:{table.spec}}"


def notes_once(tables: Sequence[Table]) -> list[list[str]]:
    """The notes of each table that no table before it has: most are the same for all metrics."""
    seen: set[str] = set()
    listed = []
    for table in tables:
        listed.append([note for note in verdict_notes(table) if note not in seen])
        seen |= set(listed[-1])
    return listed
