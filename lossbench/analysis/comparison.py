"""Better, worse or undecided: every row of a table against its reference row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from lossbench.analysis.statistics import (
    ALPHA,
    MOST_SEEDS,
    Difference,
    Summary,
    holm,
    matched,
    seeds_to_decide,
    smallest_exact_p,
    smallest_gap,
)

Outcome = Literal["better", "worse", "undecided", "none"]
Cells = Mapping[tuple[str, str], Summary]
"""By (variant, row label)."""
NO_GAP = "no gap to decide"


@dataclass(frozen=True)
class Verdict:
    """One row against the reference row of its column.

    Attributes:
        variant: The column.
        row: Its label.
        reference: Label of the reference row.
        difference: Row minus reference over the seeds that finished in both.
        p_holm: p of the paired t test, corrected for all comparisons of the table; None where
            there is no test: below two matched seeds.
        outcome: `none` where there is no test.
        reason: Why there is none, or why the test says nothing; else empty.
        unmatched: Which seeds the difference leaves out, and why; else empty.
        seeds: How many seeds would decide an undecided row: `12`, `> 1000`; else empty.
    """

    variant: str
    row: str
    reference: str
    difference: Difference
    p_holm: float | None
    outcome: Outcome
    reason: str = ""
    unmatched: str = ""
    seeds: str = ""

    @property
    def text(self) -> str:
        """`better`, `undecided (identical on every seed)`, `none (all 3 seeds diverged)`."""
        remarks = "; ".join(part for part in (self.reason, self.unmatched) if part)
        return f"{self.outcome} ({remarks})" if remarks else self.outcome


@dataclass(frozen=True)
class Floor:
    """The smallest gap that a column could have seen.

    Attributes:
        variant: The column.
        n: Matched seeds of a row; the most that any row of the column has.
        std: Standard deviation of the seed-matched differences, pooled over the rows.
        rows: How many rows it is pooled over.
        gap: The smallest true difference that would have been decided with 80 % power, in the
            metric's unit.
    """

    variant: str
    n: int
    std: float
    rows: int
    gap: float


@dataclass(frozen=True)
class Verdicts:
    """All verdicts of a table.

    Attributes:
        reference: As the suite names it.
        listed: In the table's order, the reference row itself left out.
        comparisons: How many of them were tested; the correction counts these.
        floors: One a column that has a spread.
    """

    reference: str
    listed: tuple[Verdict, ...]
    comparisons: int
    floors: tuple[Floor, ...]

    @property
    def alpha(self) -> float:
        """Level that a single comparison has to pass at worst."""
        return ALPHA / max(self.comparisons, 1)


def judge(cells: Cells, reference: str, labels: Mapping[str, str], higher: bool) -> Verdicts:
    """Compare every cell with the reference cell of its column, matched by seed.

    A row is better or worse where p of its paired t test, corrected by Holm's method over all
    comparisons of the table (all rows, all columns, one metric), is at most 0.05: of tables in
    which no row differs at most one in twenty has any verdict. So the 95 % interval of a
    difference may exclude 0 and the row be undecided: alone it would hold, as one of many not.

    Equal differences on all seeds have no spread to be measured against. Errors are multiples
    of one image, so that this happens by luck, and the row is undecided. It counts as a
    comparison, with p = 1.

    Diverged seeds have no value: the difference is that of the seeds that finished in both
    cells, and the verdict says which share that is.

    Args:
        cells: All cells of the table.
        reference: As the suite names it.
        labels: Column -> label of its reference row. Columns without one are left out.
        higher: Whether higher is better.
    """
    pairs = [
        (variant, row, labels[variant])
        for variant, row in cells
        if variant in labels and row != labels[variant]
    ]
    differences = [matched(cells[v, row], cells[v, other]) for v, row, other in pairs]
    tested = [i for i, d in enumerate(differences) if d.n > 1]
    p_values = [p if (p := differences[i].p) is not None else 1.0 for i in tested]
    p_holm = dict(zip(tested, holm(p_values), strict=True))
    alpha = ALPHA / max(len(tested), 1)
    listed = []
    for i, (variant, row, other) in enumerate(pairs):
        own, against, gap = cells[variant, row], cells[variant, other], differences[i]
        outcome, reason = _outcome(own, against, other, gap, p_holm.get(i), higher)
        verdict = Verdict(
            variant=variant,
            row=row,
            reference=other,
            difference=gap,
            p_holm=p_holm.get(i),
            outcome=outcome,
            reason=reason,
            unmatched=_unmatched(own, against, other, gap) if gap.n else "",
            seeds=_seeds(gap, alpha) if outcome == "undecided" else "",
        )
        listed.append(verdict)
    floors = [
        _floor(variant, [v for v in listed if v.variant == variant], alpha) for variant in labels
    ]
    return Verdicts(reference, tuple(listed), len(tested), tuple(f for f in floors if f))


def _outcome(
    own: Summary, against: Summary, other: str, gap: Difference, p: float | None, higher: bool
) -> tuple[Outcome, str]:
    if p is None or gap.mean is None:
        if not own.n:
            return "none", _absent(own)
        if not against.n:
            return "none", f"{other}: {_absent(against)}"
        return "none", "no seed finished in both" if not gap.n else "one seed has no spread"
    if not gap.std:
        same = gap.mean == 0
        return "undecided", "identical on every seed" if same else "same difference on every seed"
    if p > ALPHA:
        return "undecided", ""
    return ("better" if (gap.mean > 0) == higher else "worse"), ""


def _absent(summary: Summary) -> str:
    """Why a cell has no value."""
    if summary.diverged == summary.planned:
        return f"all {summary.planned} seeds diverged" if summary.planned > 1 else "diverged"
    return _shortfall(summary) or "no result yet"


def _shortfall(summary: Summary) -> str:
    parts = []
    if summary.diverged:
        parts.append(f"{summary.diverged} of {summary.planned} diverged")
    if summary.missing:
        parts.append(f"{summary.missing} of {summary.planned} not run")
    return ", ".join(parts)


def _unmatched(own: Summary, against: Summary, other: str, gap: Difference) -> str:
    parts = [
        _shortfall(own),
        f"{other}: {_shortfall(against)}" if _shortfall(against) else "",
    ]
    told = "; ".join(part for part in parts if part)
    return f"{told}; {gap.n} matched" if told else ""


def _seeds(gap: Difference, alpha: float) -> str:
    if not gap.mean:
        return NO_GAP
    if not gap.std:
        return ""
    needed = seeds_to_decide(gap.mean, gap.std, alpha)
    return f"> {MOST_SEEDS}" if needed is None else str(needed)


def _floor(variant: str, verdicts: Iterable[Verdict], alpha: float) -> Floor | None:
    """Pools the variances by their degrees of freedom.

    Rows that are identical to the reference on every seed are left out: they may be the same
    training, and would make the others' spread look smaller.
    """
    gaps = [v.difference for v in verdicts if v.difference.n > 1 and any(v.difference.values)]
    freedom = sum(gap.n - 1 for gap in gaps)
    squares = sum((gap.n - 1) * (gap.std or 0) ** 2 for gap in gaps)
    if not squares:
        return None
    std, n = math.sqrt(squares / freedom), max(gap.n for gap in gaps)
    return Floor(variant, n, std, len(gaps), smallest_gap(n, std, alpha))


def exact_note(n: int) -> str:
    """What exact tests of n matched seeds cannot reach; empty where they can reach p < 0.05."""
    flips, exchanges = smallest_exact_p(n)
    if n < 2 or max(flips, exchanges) <= ALPHA:
        return ""
    return (
        f"With {n} seeds no exact test reaches p < {ALPHA:g}"
        if min(flips, exchanges) > ALPHA
        else f"With {n} seeds not every exact test reaches p < {ALPHA:g}"
    ) + (
        f": the smallest possible p is {flips:.2g} for the signs of matched differences and "
        f"{exchanges:.2g} for two rows unmatched. A verdict rests on Student's t, that is on "
        "differences that are normally distributed."
    )
