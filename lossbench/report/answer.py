"""What a suite found, in one sentence a column: its best row, and whether that means anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lossbench.analysis.comparison import Verdict
from lossbench.analysis.number_format import format_number, format_signed
from lossbench.analysis.tables import Cell, Table
from lossbench.report.verdict_text import p_text

MOST_NAMED = 3


@dataclass(frozen=True)
class Answer:
    """Of one column of the first table.

    Attributes:
        place: The column; empty where there is one only.
        best: The best row.
        text: Its value, and how it stands against the reference.
        outcome: Of its verdict; `none` where there is none.
    """

    place: str
    best: str
    text: str
    outcome: str = "none"


def make_answers(tables: Sequence[Table]) -> list[Answer]:
    """One a column of the first table of the test set, or of the held-out part without one."""
    if not tables:
        return []
    table = next((t for t in tables if not t.held_out), tables[0])
    return [_answer(table, variant) for variant in table.variants]


def _answer(table: Table, variant: str) -> Answer:
    place = variant if table.has_columns else ""
    here = [cell for cell in table.cells.values() if cell.variant == variant]
    complete = [cell for cell in here if cell.summary.complete]
    if table.held_out:
        chosen = [cell.row.label for cell in here if cell.chosen]
        text = f"chosen so far: {', '.join(chosen) or 'nothing'}; the test set was not looked at"
        return Answer(place, "no answer yet", text)
    best = [cell for cell in here if cell.best]
    if not best:
        if len(here) == 1 and complete:
            return Answer(place, here[0].row.label, f"{here[0].value}, the only row")
        return Answer(place, "no answer yet", f"{len(complete)} of {len(here)} rows are complete")
    names = [cell.row.label for cell in best]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    named = ", ".join(names[:MOST_NAMED]) + more
    value = best[0].value if len(best) == 1 else format_number(best[0].summary.mean, table.spec)
    waiting = len(here) - len(complete)
    left = f"; {waiting} of {len(here)} rows are not complete" if waiting else ""
    if len(best) > 1:
        return Answer(place, named, f"{value}: equal at the shown precision{left}")
    told, outcome = _standing(table, best[0])
    return Answer(place, named, f"{value}{told}{left}", outcome)


def _standing(table: Table, best: Cell) -> tuple[str, str]:
    """How the best row stands against the reference: words, and the verdict's outcome."""
    if table.verdicts is None:
        return "; the suite names no reference to compare it with", "none"
    found = find_verdict(table, best.variant, best.row.label)
    if found is None:
        beaten = any(
            v.outcome == "worse" for v in table.verdicts.listed if v.variant == best.variant
        )
        rest = "" if beaten else ", and no row is told apart from it"
        return f"; it is the reference itself{rest}", "none"
    gap = format_signed(found.difference.mean, table.spec)
    if found.p_holm is None:
        return f"; {gap} against {found.reference}, without a verdict: {found.reason}", "none"
    return (
        f"; {gap} against {found.reference}: {found.text}, p (Holm) {p_text(found.p_holm)}",
        found.outcome,
    )


def find_verdict(table: Table, variant: str, row: str) -> Verdict | None:
    """The verdict on a cell, if it has one."""
    listed = table.verdicts.listed if table.verdicts else ()
    return next((v for v in listed if (v.variant, v.row) == (variant, row)), None)
