"""Better, worse or undecided: every row of a table compared with its reference row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from lossbench.analysis.statistics import (
    ALPHA,
    MatchedDifference,
    Summary,
    holm,
    matched_difference,
    min_detectable_difference,
    seeds_to_decide,
)

VerdictKind = Literal["better", "worse", "undecided", "none"]
Cells = Mapping[tuple[str, str], Summary]
"""(variant, row label) -> results of the cell."""


@dataclass(frozen=True)
class Verdict:
    """One row compared with the reference row of its column.

    Attributes:
        variant: Name of the column.
        row: Label of the row.
        reference: Label of the reference row.
        summary: Results of the row.
        reference_summary: Results of the reference row.
        difference: Row minus reference over the seeds that finished in both.
        p_holm: p of the paired t test, corrected for all comparisons of the table; None without a
            test, which needs two matched seeds.
        outcome: Outcome of the test; `none` without a test.
        seeds_to_decide: Number of seeds that would probably decide an undecided row; None if the
            row is not undecided, if the mean difference or its spread is 0, or above `MAX_SEEDS`.
    """

    variant: str
    row: str
    reference: str
    summary: Summary
    reference_summary: Summary
    difference: MatchedDifference
    p_holm: float | None
    outcome: VerdictKind
    seeds_to_decide: int | None = None


@dataclass(frozen=True)
class DetectableDifference:
    """The minimum detectable difference of a column.

    Attributes:
        variant: Name of the column.
        n: Number of matched seeds; the largest of the column's rows.
        std: Standard deviation of the seed-matched differences, pooled over the rows.
        rows: Number of pooled rows.
        difference: Smallest true difference that is decided with 80 % power, in the metric's unit.
    """

    variant: str
    n: int
    std: float
    rows: int
    difference: float


@dataclass(frozen=True)
class Verdicts:
    """All verdicts of a table.

    Attributes:
        reference: Reference row as named in the suite.
        listed: Verdicts in the table's order, without the reference row.
        comparisons: Number of tests, for which the p values are corrected.
        min_detectable: Minimum detectable differences of the columns that show a spread.
    """

    reference: str
    listed: tuple[Verdict, ...]
    comparisons: int
    min_detectable: tuple[DetectableDifference, ...]

    @property
    def alpha(self) -> float:
        """Strictest level of a single comparison."""
        return ALPHA / max(self.comparisons, 1)


def compare_with_reference(
    cells: Cells, reference: str, labels: Mapping[str, str], higher: bool
) -> Verdicts:
    """Compare every cell with the reference cell of its column, matched by seed.

    A row is better or worse if p of its paired t test, corrected by Holm's method over all
    comparisons of the table (all rows, all columns, one metric), is at most 0.05: if no row truly
    differs, at most one table in twenty has any verdict. The 95 % interval of a single difference
    is not corrected, so it may exclude 0 although the row is undecided.

    Equal differences on all seeds have no spread, so there is nothing to test them against. Errors
    are multiples of one image, so this happens by chance; the row is undecided and counts as a
    comparison with p = 1.

    Diverged seeds have no value: the difference is that of the seeds that finished in both cells.

    Args:
        cells: All cells of the table.
        reference: Reference row as named in the suite.
        labels: Column -> label of its reference row; other columns are left out.
        higher: Whether higher is better.
    """
    pairs = [
        (variant, row, labels[variant])
        for variant, row in cells
        if variant in labels and row != labels[variant]
    ]
    differences = [matched_difference(cells[v, row], cells[v, other]) for v, row, other in pairs]
    tested = [i for i, d in enumerate(differences) if d.n > 1]
    p_values = [p if (p := differences[i].p) is not None else 1.0 for i in tested]
    p_holm = dict(zip(tested, holm(p_values), strict=True))
    alpha = ALPHA / max(len(tested), 1)
    listed = []
    for i, (variant, row, other) in enumerate(pairs):
        outcome = _outcome(differences[i], p_holm.get(i), higher)
        verdict = Verdict(
            variant=variant,
            row=row,
            reference=other,
            summary=cells[variant, row],
            reference_summary=cells[variant, other],
            difference=differences[i],
            p_holm=p_holm.get(i),
            outcome=outcome,
            seeds_to_decide=_seeds(differences[i], alpha) if outcome == "undecided" else None,
        )
        listed.append(verdict)
    detectable = [
        _detectable(variant, [v for v in listed if v.variant == variant], alpha)
        for variant in labels
    ]
    return Verdicts(reference, tuple(listed), len(tested), tuple(d for d in detectable if d))


def _outcome(difference: MatchedDifference, p: float | None, higher: bool) -> VerdictKind:
    if p is None or difference.mean is None:
        return "none"
    if not difference.std or p > ALPHA:
        return "undecided"
    return "better" if (difference.mean > 0) == higher else "worse"


def _seeds(difference: MatchedDifference, alpha: float) -> int | None:
    if not difference.mean or not difference.std:
        return None
    return seeds_to_decide(difference.mean, difference.std, alpha)


def _detectable(
    variant: str, verdicts: Iterable[Verdict], alpha: float
) -> DetectableDifference | None:
    """Minimum detectable difference from the variances pooled by their degrees of freedom.

    Rows that are identical to the reference on every seed are left out: they may be the same
    training, and would make the others' spread look smaller.
    """
    differences = [
        v.difference for v in verdicts if v.difference.n > 1 and any(v.difference.values)
    ]
    freedom = sum(d.n - 1 for d in differences)
    squares = sum((d.n - 1) * (d.std or 0) ** 2 for d in differences)
    if not squares:
        return None
    std, n = math.sqrt(squares / freedom), max(d.n for d in differences)
    smallest = min_detectable_difference(n, std, alpha)
    return DetectableDifference(variant, n, std, len(differences), smallest)
