"""Better, worse, equivalent or undecided: every row compared with the reference row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import median
from typing import Literal

from scipy.special import fdtr, stdtr, stdtrit

from lossbench.analysis.error_spending import Looks
from lossbench.analysis.power import SeedSpread, min_detectable_difference, seeds_to_decide
from lossbench.analysis.row_spread import DifferenceSpread, RowSpreads, estimate_spreads
from lossbench.analysis.statistics import (
    ALPHA,
    Interval,
    MatchedDifference,
    Summary,
    holm,
    matched_difference,
)

QUIET_LEVEL = 0.01
"""Level of the test that detects differences whose spread is smaller than the pooled one, divided
by the number of comparisons."""
MIN_QUIET_SEEDS = 4
"""Smallest number of matched seeds with which this test is made."""
VerdictKind = Literal["better", "worse", "equivalent", "undecided", "none"]
Key = tuple[str, str]
"""Name of the column, label of the row."""
Cells = Mapping[Key, Summary]
"""(variant, row label) -> results of the cell."""


@dataclass(frozen=True)
class PairedTest:
    """The classic paired t test of one row, which uses no other row.

    Attributes:
        p_holm: p, corrected for all comparisons of the table; None without a test.
        outcome: Outcome at the level 0.05; `none` without a test.
    """

    p_holm: float | None
    outcome: VerdictKind


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
        spread: Spread of the difference, pooled over the table; None if it is unknown.
        p_holm: p of the t test with this spread, corrected for all comparisons of the table; None
            without a test, which needs two matched seeds.
        interval: Interval of the difference; it excludes 0 if and only if `p_holm` is at most
            0.05. None without a test.
        margin: Largest difference that counts as none, in the metric's unit; None if there is no
            such number.
        level: Level of the test, the row's own step in Holm's method.
        equivalence_level: Level of the interval that has to lie within the margin.
        outcome: Outcome of the test; `none` without a test.
        paired: The classic paired t test.
    """

    variant: str
    row: str
    reference: str
    summary: Summary
    reference_summary: Summary
    difference: MatchedDifference
    spread: DifferenceSpread | None
    p_holm: float | None
    interval: Interval | None
    margin: float | None
    level: float
    equivalence_level: float
    outcome: VerdictKind
    paired: PairedTest

    @cached_property
    def seeds_to_decide(self) -> int | None:
        """Number of seeds that would probably decide an undecided row.

        None if the row is not undecided, if its spread is unknown, or above `MAX_SEEDS`.
        """
        if self.outcome != "undecided" or self.spread is None or self.difference.mean is None:
            return None
        spread = SeedSpread(self.spread.sd, self.spread.df, self.difference.n)
        return seeds_to_decide(
            self.difference.mean, spread, self.level, self.margin, self.equivalence_level
        )


@dataclass(frozen=True)
class DetectableDifference:
    """The minimum detectable difference of a column.

    Attributes:
        variant: Name of the column.
        n: Number of matched seeds; the largest of the column's rows.
        std: Standard deviation of the seed-matched differences: root mean square over the rows.
        rows: Number of these rows.
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
        alpha: Strictest level of a single comparison.
        variants: Columns with a reference row.
        out_of_line: Rows whose spread is larger than that of the others by more than chance
            explains, tested by their own spread -> standard deviation relative to the others'.
    """

    reference: str
    listed: tuple[Verdict, ...]
    comparisons: int
    alpha: float
    variants: tuple[str, ...]
    out_of_line: Mapping[str, float]

    @cached_property
    def by_cell(self) -> dict[tuple[str, str], Verdict]:
        """(variant, row) -> verdict."""
        return {(verdict.variant, verdict.row): verdict for verdict in self.listed}

    @cached_property
    def by_column(self) -> dict[str, list[Verdict]]:
        """Column -> its verdicts; columns without any are left out."""
        columns: dict[str, list[Verdict]] = {}
        for verdict in self.listed:
            columns.setdefault(verdict.variant, []).append(verdict)
        return columns

    @cached_property
    def min_detectable(self) -> tuple[DetectableDifference, ...]:
        """Minimum detectable differences of the columns that show a spread."""
        columns = (self.by_column.get(variant, []) for variant in self.variants)
        found = [_detectable(verdicts, self.alpha) for verdicts in columns]
        return tuple(difference for difference in found if difference)


@dataclass(frozen=True)
class RepeatedLooks:
    """Earlier looks at a table, which make the tests of the present one stricter.

    Attributes:
        looks: Looks at each comparison; none: this is the only one.
        family: Comparisons for which the p values are corrected; None: those that have a test.
            If there are more looks, one without a test counts, too, because it may get one.
        settled: Verdicts of the comparisons that an earlier look decided; they do not change.
            A difference that was found gives its share of the level to the other comparisons; an
            equivalence keeps it.
    """

    looks: Mapping[Key, Looks] = field(default_factory=dict)
    family: Set[Key] | None = None
    settled: Mapping[Key, Verdict] = field(default_factory=dict)


def compare_with_reference(
    cells: Cells,
    reference: str,
    labels: Mapping[str, str],
    higher: bool,
    margins: Mapping[str, float] | None = None,
    repeated: RepeatedLooks | None = None,
    *,
    paired: bool = True,
) -> Verdicts:
    """Compare every cell with the reference cell of its column, matched by seed.

    t = mean difference / (spread / sqrt(n)), where the spread of the two rows is pooled over the
    whole table as far as the rows and columns agree (`lossbench.analysis.row_spread`). p is
    corrected by Holm's method over all comparisons of the table (all rows, all columns, one
    metric): if no row truly differs, about 5 % of tables or fewer have any verdict, and up to 9 %
    if the spread of rows or cells differs much. A difference that varies far less than the pooled
    spread is tested by its own; see `QUIET_LEVEL`.

    A row is equivalent if its interval at the level 0.05 / comparisons lies within ± the margin of
    its column (two one-sided tests), better or worse if p is at most 0.05, and otherwise undecided.
    The level of equivalences does not grow with Holm's steps: rows whose difference is the margin
    itself are not fewer because other rows truly differ.

    The interval of a row that differs has the level of its step in Holm's method, that of any
    other row the level 0.05 / comparisons.

    Diverged seeds have no value: the difference is that of the seeds that finished in both cells.

    Args:
        cells: All cells of the table.
        reference: Reference row as named in the suite.
        labels: Column -> label of its reference row; other columns are left out.
        higher: Whether higher is better.
        margins: Column -> largest difference that counts as none, in the metric's unit.
        repeated: Earlier looks at the table; None if this is the only one.
        paired: Whether to make the classic paired t tests, too, a third of the work.
    """
    used = {key: cell for key, cell in cells.items() if key[0] in labels}
    pairs = [(v, row, labels[v]) for v, row in used if row != labels[v]]
    spreads = estimate_spreads(used, labels)
    repeated = repeated or RepeatedLooks()
    looks, settled = repeated.looks, repeated.settled
    tests: dict[Key, _Test] = {}
    for variant, row, other in pairs:
        difference = matched_difference(cells[variant, row], cells[variant, other])
        pooled = spreads.difference(variant, row, other) if difference.n > 1 else None
        spread = _own_if_quiet(difference, pooled, QUIET_LEVEL / len(pairs))
        tests[variant, row] = _Test(difference, spread, looks.get((variant, row)))
    tested = [key for key, test in tests.items() if test.difference.n > 1]
    given = repeated.family
    family = tested if given is None else [key for key in tests if key in given]
    p_holm = _holm_at({key: _settled_p(settled.get(key), tests[key]) for key in family})
    p_paired = _holm_at({key: tests[key].p_paired for key in family}) if paired else {}
    levels = _holm_levels(p_holm)
    alpha = ALPHA / max(len(family), 1)
    listed = []
    for variant, row, other in pairs:
        key = variant, row
        test = tests[key]
        has_test = key in p_holm and test.difference.n > 1
        p_classic = p_paired.get(key) if has_test else None
        classic = PairedTest(p_classic, _outcome(test.difference, p_classic, None, None, higher))
        if key in settled:
            listed.append(replace(settled[key], paired=classic))
            continue
        p = p_holm[key] if has_test else None
        margin = (margins or {}).get(variant)
        widest = test.interval(alpha) if has_test else None
        interval = test.interval(levels[key]) if p is not None and p <= ALPHA else widest
        outcome = _outcome(test.difference, p, widest, margin, higher)
        verdict = Verdict(
            variant=variant,
            row=row,
            reference=other,
            summary=cells[variant, row],
            reference_summary=cells[variant, other],
            difference=test.difference,
            spread=test.spread,
            p_holm=p,
            interval=interval,
            margin=margin,
            level=test.nominal(levels.get(key, ALPHA)),
            equivalence_level=test.nominal(alpha),
            outcome=outcome,
            paired=classic,
        )
        listed.append(verdict)
    return Verdicts(
        reference=reference,
        listed=tuple(listed),
        comparisons=len(family),
        alpha=min((test.nominal(alpha) for test in tests.values()), default=alpha),
        variants=tuple(labels),
        out_of_line=_tested_alone(spreads, listed),
    )


@dataclass(frozen=True)
class _Test:
    """The t test of one difference; without a test if its spread is unknown."""

    difference: MatchedDifference
    spread: DifferenceSpread | None
    looks: Looks | None

    @property
    def _standard_error(self) -> float:
        assert self.spread is not None
        return self.spread.sd / math.sqrt(self.difference.n)

    @property
    def p(self) -> float:
        """p of all looks together; 1 without a test."""
        if self.spread is None or self.difference.mean is None:
            return 1.0
        t = abs(self.difference.mean) / self._standard_error
        return self._overall(float(2 * stdtr(self.spread.df, -t)))

    @property
    def p_paired(self) -> float:
        """p of the classic paired t test; 1 without a test."""
        p = self.difference.p
        return 1.0 if p is None else self._overall(p)

    def _overall(self, p: float) -> float:
        return self.looks.overall_p(p) if self.looks else p

    def nominal(self, level: float) -> float:
        """Level of the present look if all looks together have this level."""
        return self.looks.nominal_level(level) if self.looks else level

    def interval(self, level: float) -> Interval | None:
        if self.spread is None or self.difference.mean is None:
            return None
        quantile = -float(stdtrit(self.spread.df, self.nominal(level) / 2))
        half = quantile * self._standard_error
        return Interval(self.difference.mean - half, self.difference.mean + half)


def _own_if_quiet(
    difference: MatchedDifference, pooled: DifferenceSpread | None, level: float
) -> DifferenceSpread | None:
    """The pooled spread of a difference, or its own if it is smaller than chance explains.

    One row with a very large spread, in a table of few rows, makes all others look noisy. Three
    seeds are too few to see it.
    """
    if pooled is None or not difference.std or difference.n < MIN_QUIET_SEEDS:
        return pooled
    df = difference.n - 1
    if fdtr(df, pooled.df, (difference.std / pooled.sd) ** 2) >= level:
        return pooled
    return DifferenceSpread(difference.std, df, own=True)


def _settled_p(settled: Verdict | None, test: _Test) -> float:
    """p for Holm's method: 0 of a difference found earlier, 1 of an equivalence without one."""
    if settled is None:
        return test.p
    return 0.0 if settled.p_holm is not None and settled.p_holm <= ALPHA else 1.0


def _holm_at(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Corrected p of each comparison."""
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def _holm_levels(p_holm: Mapping[Key, float]) -> dict[Key, float]:
    """Level at which Holm's method tests each comparison.

    The smallest p is tested at 0.05 / m, the next at 0.05 / (m - 1), and so on; all p from the
    first that is not significant are tested at the same level.
    """
    order = sorted(p_holm, key=lambda key: p_holm[key])
    significant = sum(p <= ALPHA for p in p_holm.values())
    return {
        key: ALPHA / (len(order) - min(rank, significant))
        if len(order) > min(rank, significant)
        else ALPHA
        for rank, key in enumerate(order)
    }


def _outcome(
    difference: MatchedDifference,
    p: float | None,
    interval: Interval | None,
    margin: float | None,
    higher: bool,
) -> VerdictKind:
    if p is None or difference.mean is None:
        return "none"
    if margin is not None and interval is not None and max(-interval.low, interval.high) <= margin:
        return "equivalent"
    if p > ALPHA:
        return "undecided"
    return "better" if (difference.mean > 0) == higher else "worse"


def _detectable(verdicts: Sequence[Verdict], alpha: float) -> DetectableDifference | None:
    """Minimum detectable difference of a column, from the mean variance of its differences."""
    known = [(v.difference.n, v.spread) for v in verdicts if v.spread is not None]
    if not known:
        return None
    std = math.sqrt(sum(spread.sd**2 for _, spread in known) / len(known))
    n = max(n for n, _ in known)
    smallest = min_detectable_difference(
        SeedSpread(std, median(spread.df for _, spread in known), n), alpha
    )
    return DetectableDifference(verdicts[0].variant, n, std, len(known), smallest)


def _tested_alone(spreads: RowSpreads, listed: Iterable[Verdict]) -> dict[str, float]:
    """Rows with verdicts, and references, that are out of line."""
    tested = {row for v in listed if v.spread is not None for row in (v.row, v.reference)}
    return {row: ratio for row, ratio in spreads.out_of_line.items() if row in tested}
