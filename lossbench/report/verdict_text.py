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
from lossbench.analysis.statistics import ALPHA, MAX_SEEDS, POWER, Summary, smallest_exact_p
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
        return "one seed has no spread" if gap.n else "no seed finished in both"
    if not gap.std:
        return "identical on every seed" if gap.mean == 0 else "same difference on every seed"
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
    return f"{listed}; {verdict.difference.n} matched" if listed else ""


def format_seeds_to_decide(verdict: Verdict) -> str:
    """`12`, `> 1000`, `no gap to decide`; empty for a decided row or one without spread."""
    if verdict.outcome != "undecided":
        return ""
    if not verdict.difference.mean:
        return "no gap to decide"
    if not verdict.difference.std:
        return ""
    return str(verdict.seeds_to_decide or f"> {MAX_SEEDS}")


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
    if verdicts.detectable:
        columns = "; ".join(
            f"{f'{column.variant} ' if table.has_variants else ''}{_detectable(table, column)} "
            f"({column.n} seeds, spread {column.std:{table.spec}} of the differences, pooled over "
            f"{'1 row' if column.rows == 1 else f'{column.rows} rows'})"
            for column in verdicts.detectable
        )
        unit = difference_unit(table.unit)
        lines.append(
            f"Resolution: smallest true difference that is detected with {100 * POWER:.0f} % "
            f"power{f', in {unit}' if unit else ''}: {columns}."
        )
    note = exact_test_note(max(v.difference.n for v in verdicts.listed))
    return [*lines, note] if note else lines


def _why_no_verdicts(table: Table, reference: str) -> str:
    if not any(reference in (row.label, row.loss.name) for row in table.rows):
        return f"No verdicts: the reference row {reference} is not in this table."
    return f"No verdicts: no column has exactly one row {reference} and another row."


def _detectable(table: Table, column: DetectableDifference) -> str:
    """The smallest detectable difference; percentages cannot differ by more than 100."""
    if is_percentage(table.unit) and column.difference > 100:
        return "none, since not even 100 would be"
    return f"{column.difference:{table.spec}}"


def exact_test_note(n: int) -> str:
    """Smallest p of exact tests with n matched seeds; empty if they can reach p < 0.05."""
    flips, exchanges = smallest_exact_p(n)
    if n < 2 or max(flips, exchanges) <= ALPHA:
        return ""
    no = "no" if min(flips, exchanges) > ALPHA else "not every"
    return (
        f"With {n} seeds {no} exact test reaches p < {ALPHA:g}: the smallest possible p is "
        f"{flips:.2g} for the signs of matched differences and {exchanges:.2g} for two unmatched "
        "rows. The verdicts rely on Student's t, which assumes normally distributed differences."
    )


def notes_once(tables: Sequence[Table]) -> list[list[str]]:
    """The notes of each table that no table before it has: most are the same for all metrics."""
    seen: set[str] = set()
    listed = []
    for table in tables:
        listed.append([note for note in verdict_notes(table) if note not in seen])
        seen |= set(listed[-1])
    return listed
