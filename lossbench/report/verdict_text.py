"""Verdicts in words: numbers, titles, and the notes below a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lossbench.analysis.comparison import DetectableDifference, Verdict, Verdicts
from lossbench.analysis.number_format import (
    NOTHING,
    PERCENT_SPEC,
    difference_unit,
    format_number,
    format_signed,
    is_percentage,
    with_unit,
)
from lossbench.analysis.power import MAX_SEEDS, POWER
from lossbench.analysis.statistics import ALPHA, Summary, smallest_exact_p
from lossbench.analysis.tables import Table


def format_p(p: float | None) -> str:
    """`< 0.001`, `0.025`, `0.37`."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{min(p, 1):.2g}" if p < 0.1 else f"{p:.2f}"


def find_verdict(table: Table, variant: str, row: str) -> Verdict | None:
    """The verdict on a cell, if it has one."""
    return table.verdicts.by_cell.get((variant, row)) if table.verdicts else None


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
    if verdict.spread.own:
        return "varies far less than the other rows; tested by its own spread"
    return ""


def _why_no_value(summary: Summary) -> str:
    if summary.diverged == summary.planned:
        return f"all {summary.planned} seeds diverged" if summary.planned > 1 else "diverged"
    return absent_seeds(summary) or "no result yet"


def absent_seeds(summary: Summary) -> str:
    """`1 of 3 diverged, 1 of 3 not run`; empty for a complete cell."""
    counts = {"diverged": summary.diverged, "not run": summary.missing}
    return ", ".join(f"{n} of {summary.planned} {what}" for what, n in counts.items() if n)


def _unmatched_seeds(verdict: Verdict) -> str:
    if not verdict.difference.n:
        return ""
    against = absent_seeds(verdict.reference_summary)
    parts = [absent_seeds(verdict.summary), f"{verdict.reference}: {against}" if against else ""]
    listed = "; ".join(part for part in parts if part)
    if not listed or verdict.outcome == "none":  # the reason names the pairs
        return listed
    return f"{listed}; {verdict.difference.n} paired"


def format_seeds_to_decide(verdict: Verdict) -> str:
    """`12`, `> 1000`; empty for a decided row or one without spread."""
    if verdict.outcome != "undecided" or verdict.spread is None:
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


def is_paired_t_test(table: Table) -> bool:
    """Whether the table has two rows with a spread: with no other row, nothing is pooled."""
    assert table.verdicts is not None
    columns = {verdict.variant for verdict in table.verdicts.listed}
    cells = [cell for cell in table.cells.values() if cell.variant in columns]
    return len({cell.row.label for cell in cells if cell.summary.n > 1}) == 2


def out_of_line_warnings(table: Table) -> tuple[str, ...]:
    """Rows that are tested by their own spread, because it is larger than the others'."""
    if table.verdicts is None:
        return ()
    return tuple(
        f"{row} varies {ratio:.1f} times as much between seeds as the other rows; it is tested by "
        "its own spread"
        for row, ratio in table.verdicts.out_of_line.items()
    )


def verdict_notes(table: Table) -> list[str]:
    """The test behind the verdicts, and the smallest difference that it could have detected."""
    verdicts = table.verdicts
    if verdicts is None:
        return []
    if not verdicts.listed:
        return [f"No verdicts: {why_no_verdicts(table, verdicts.reference)}."]
    if not verdicts.comparisons:
        return [
            "No verdicts: a comparison needs at least two seeds with results of the row and of "
            f"the reference row, {verdicts.reference}."
        ]
    lines = [_rule(table, verdicts)]
    if margins := describe_margins(table, verdicts):
        lines.append(
            f"Equivalent: the whole interval is within ± {margins}, {margin_source(table)}."
        )
    if verdicts.min_detectable:
        seeds = {column.n for column in verdicts.min_detectable}
        n = f"{min(seeds)} to {max(seeds)}" if len(seeds) > 1 else str(*seeds)
        sizes = {d.variant: _detectable(table, d) for d in verdicts.min_detectable}
        lines.append(
            f"Smallest true difference that {n} seeds detect with {100 * POWER:.0f} % power: "
            f"{_by_column(table, sizes)}."
        )
    note = exact_test_note(max(v.difference.n for v in verdicts.listed))
    return [*lines, note] if note else lines


def _rule(table: Table, verdicts: Verdicts) -> str:
    if is_paired_t_test(table):
        rule = f"Better or worse: p ≤ {ALPHA:g} in a paired t test."
    else:
        others = "rows and columns" if table.has_variants else "rows"
        rule = (
            f"Better or worse: p ≤ {ALPHA:g} in a t test of the differences at the same seed, with "
            f"a spread that is pooled over the {others} as far as they agree."
        )
    corrected = corrected_for(table)
    if not corrected:
        return rule
    return (
        f"{rule} p and intervals are corrected for {corrected}: an interval excludes 0 exactly if "
        f"p ≤ {ALPHA:g}."
    )


def corrected_for(table: Table) -> str:
    """`14 comparisons (Holm) and the repeated looks`; empty for a single test."""
    assert table.verdicts is not None
    count = table.verdicts.comparisons
    parts = [f"{count} comparisons (Holm)"] if count > 1 else []
    return " and ".join([*parts, *(["the repeated looks"] if table.found.plan.looks else [])])


def margin_source(table: Table) -> str:
    """Why differences within the margin count as none."""
    if table.metric in table.found.plan.suite.min_effect:
        return "`min_effect` of the suite"
    return f"the resolution of the {table.stage.images} set"


def describe_margins(table: Table, verdicts: Verdicts) -> str:
    """`0.97 percentage points`, or `1.26 (2-D), 0.73 (32-D) percentage points`; may be empty."""
    margins = {v.variant: v.margin for v in verdicts.listed if v.margin is not None}
    return _by_column(table, {k: format_number(v, table.spec) for k, v in margins.items()})


def _by_column(table: Table, sizes: Mapping[str, str]) -> str:
    """One size with its unit, or those of the columns."""
    if len(set(sizes.values())) == 1:
        text = next(iter(sizes.values()))
    else:
        text = ", ".join(f"{size} ({variant})" for variant, size in sizes.items())
    return with_unit(text, difference_unit(table.unit)) if text else ""


def why_no_verdicts(table: Table, reference: str) -> str:
    """Why a table, or one of its columns, has no comparisons."""
    if not any(reference in (row.label, row.entry) for row in table.rows):
        return f"the reference row {reference} is not in this table"
    return f"no column has exactly one row {reference} and another row"


def _detectable(table: Table, column: DetectableDifference) -> str:
    """The minimum detectable difference; percentages cannot differ by more than 100."""
    if is_percentage(table.unit) and column.difference > 100:
        return "more than 100"
    return format_number(column.difference, table.spec)


def exact_test_note(n: int) -> str:
    """Smallest p of the exact test with n paired seeds; empty if it can reach p < 0.05."""
    smallest, _ = smallest_exact_p(n)
    if n < 2 or smallest <= ALPHA:
        return ""
    return (
        f"The t test assumes normally distributed differences; with {n} seeds an exact test (sign "
        f"flips) cannot reach p < {ALPHA:g}: its smallest possible p is {smallest:.2g}."
    )


def notes_once(tables: Sequence[Table]) -> list[list[str]]:
    """The notes of each table that no table before it has: most are the same for all metrics."""
    seen: set[str] = set()
    listed = []
    for table in tables:
        listed.append([note for note in verdict_notes(table) if note not in seen])
        seen |= set(listed[-1])
    return listed
