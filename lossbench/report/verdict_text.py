"""Verdicts in words: numbers, titles, and the notes below a table."""

from __future__ import annotations

from collections.abc import Sequence

from lossbench.analysis.comparison import DetectableDifference, Verdict, Verdicts
from lossbench.analysis.number_format import (
    NOTHING,
    PERCENT_SPEC,
    difference_unit,
    format_signed,
    is_percentage,
)
from lossbench.analysis.power import MAX_SEEDS, POWER
from lossbench.analysis.statistics import ALPHA, Summary, smallest_exact_p
from lossbench.analysis.tables import Table
from lossbench.report.value_text import counted


def format_p(p: float | None) -> str:
    """`< 0.001`, `0.025`, `0.37`."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{min(p, 1):.2g}" if p < 0.1 else f"{p:.2f}"


def find_verdict(table: Table, variant: str, row: str) -> Verdict | None:
    """The verdict on a cell, if it has one."""
    listed = table.verdicts.listed if table.verdicts else ()
    return next((v for v in listed if (v.variant, v.row) == (variant, row)), None)


def describe_verdict(verdict: Verdict) -> str:
    """`better`, `undecided (identical on every seed)`, `none (all 3 seeds diverged)`."""
    remark = verdict_remark(verdict)
    return f"{verdict.outcome} ({remark})" if remark else verdict.outcome


def verdict_remark(verdict: Verdict) -> str:
    """Why there is no test or no spread, and which seeds are left out; empty for neither."""
    return "; ".join(filter(None, (verdict_reason(verdict), _unmatched_seeds(verdict))))


def verdict_reason(verdict: Verdict) -> str:
    """Why there is no test, or no spread to test against; else empty."""
    own, against, gap = verdict.summary, verdict.reference_summary, verdict.difference
    if verdict.outcome == "none":
        if not own.n:
            return _why_no_value(own)
        if not against.n:
            return f"{verdict.reference}: {_why_no_value(against)}"
        return "only one paired seed" if gap.n else "no seed finished in both rows"
    if gap.std == 0 and gap.mean == 0:
        return "identical on every seed"
    if verdict.spread is None:
        return "no spread between seeds is known"
    return ""


def _why_no_value(summary: Summary) -> str:
    if summary.diverged == summary.planned:
        return f"all {summary.planned} seeds diverged" if summary.planned > 1 else "diverged"
    return _absent_seeds(summary) or "no result yet"


def _absent_seeds(summary: Summary) -> str:
    counts = {"diverged": summary.diverged, "not run": summary.missing}
    return ", ".join(f"{n} of {summary.planned} {what}" for what, n in counts.items() if n)


def _unmatched_seeds(verdict: Verdict) -> str:
    if not verdict.difference.n:
        return ""
    against = _absent_seeds(verdict.reference_summary)
    parts = [_absent_seeds(verdict.summary), f"{verdict.reference}: {against}" if against else ""]
    listed = "; ".join(part for part in parts if part)
    return f"{listed}; {verdict.difference.n} paired" if listed else ""


def format_seeds_to_decide(verdict: Verdict) -> str:
    """`12`, `> 1000`; empty for a decided row or one without spread."""
    if verdict.outcome != "undecided":
        return ""
    if verdict.spread is None:
        return ""
    return str(verdict.seeds_to_decide or f"> {MAX_SEEDS}")


def verdict_and_difference(verdict: Verdict | None, spec: str = PERCENT_SPEC) -> str:
    """`better, −0.31`; the reference row has no verdict."""
    if verdict is None:
        return NOTHING
    gap = verdict.difference.mean
    return verdict.outcome if gap is None else f"{verdict.outcome}, {format_signed(gap, spec)}"


def verdict_title(verdicts: Verdicts, unit: str) -> str:
    """`Difference to softmax, paired by seed, in percentage points`."""
    differences = difference_unit(unit)
    of = f", in {differences}" if differences else ""
    return f"Difference to {verdicts.reference}, paired by seed{of}"


def verdict_notes(table: Table) -> list[str]:
    """The test behind the verdicts, and the smallest difference that it could have detected."""
    verdicts = table.verdicts
    if verdicts is None:
        return []
    if not verdicts.listed:
        return [_why_no_verdicts(table, verdicts.reference)]
    if not verdicts.comparisons:
        return [
            "No verdicts: a paired t test needs at least two seeds with results of the row and of "
            f"the reference row, {verdicts.reference}."
        ]
    one = verdicts.comparisons == 1
    corrected = f" corrected for {verdicts.comparisons} comparisons of this metric (Holm)"
    rule = (
        f"Better or worse: p ≤ {ALPHA:g} in a t test of the differences at the same seed, whose "
        f"spread is pooled over the rows and columns as far as they agree{'' if one else corrected}"
        "; equivalent: the interval lies within the margin; otherwise undecided."
    )
    lines = [rule]
    if verdicts.out_of_line:
        listed = ", ".join(
            f"{row} ({ratio:.1f} times)" for row, ratio in verdicts.out_of_line.items()
        )
        lines.append(
            f"Spread out of line with that of the other rows, tested by its own spread: {listed}."
        )
    if verdicts.min_detectable:
        columns = "; ".join(
            f"{f'{column.variant} ' if table.has_variants else ''}{_detectable(table, column)} "
            f"({column.n} seeds; standard deviation of the paired differences "
            f"{column.std:{table.spec}}, pooled over "
            f"{counted(column.rows, 'row')})"
            for column in verdicts.min_detectable
        )
        unit = difference_unit(table.unit)
        lines.append(
            "Minimum detectable difference, the smallest true difference that is found with "
            f"{100 * POWER:.0f} % power{f', in {unit}' if unit else ''}: {columns}."
        )
    note = exact_test_note(max(v.difference.n for v in verdicts.listed))
    return [*lines, note] if note else lines


def _why_no_verdicts(table: Table, reference: str) -> str:
    if not any(reference in (row.label, row.loss.name) for row in table.rows):
        return f"No verdicts: the reference row {reference} is not in this table."
    return f"No verdicts: no column has exactly one row {reference} and another row."


def _detectable(table: Table, column: DetectableDifference) -> str:
    """The minimum detectable difference; percentages cannot differ by more than 100."""
    if is_percentage(table.unit) and column.difference > 100:
        return "more than 100, so none"
    return f"{column.difference:{table.spec}}"


def exact_test_note(n: int) -> str:
    """Smallest p of the exact test with n paired seeds; empty if it can reach p < 0.05."""
    smallest, _ = smallest_exact_p(n)
    if n < 2 or smallest <= ALPHA:
        return ""
    return (
        f"With {n} seeds an exact paired test (sign flips) cannot reach p < {ALPHA:g}: its "
        f"smallest possible p is {smallest:.2g}. The verdicts rely on Student's t test, which "
        "assumes normally distributed differences."
    )


def notes_once(tables: Sequence[Table]) -> list[list[str]]:
    """The notes of each table that no table before it has: most are the same for all metrics."""
    seen: set[str] = set()
    listed = []
    for table in tables:
        listed.append([note for note in verdict_notes(table) if note not in seen])
        seen |= set(listed[-1])
    return listed
