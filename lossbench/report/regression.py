"""Whether a cell has become worse: the rule of `lossbench check`.

For each cell and metric that both sides have:

1. The same values for the same seeds are `identical`.
2. The difference is that of the means; where one side's seeds are all among the other's, only
   the shared seeds count, each compared with itself.
3. Two noises are known. That of the differences: how they scatter over the seeds (or, without
   shared seeds, how both sides' values scatter around their means). And that of the baseline:
   how its own values scatter over its seeds. Both are pooled over the cells of a column as far as
   those agree (`lossbench.report.spread`).
4. `regression`: at least two seeds, worse by at least the minimum effect, and by more than one of
   the noises allows. What a noise allows is set so that if nothing changed but chance, all cells
   and both noises together raise a false alarm in at most 5 % of checks (Bonferroni). The
   baseline's noise knows nothing of a seed that trains badly once in ten times, so it counts only
   where every value here is worse than every value of the baseline. `improved` is the mirror image.
5. `pass`: even the bad end of the ordinary 95 % interval of the difference is within the minimum
   effect. Nothing is divided by the number of cells here: each cell has to show it.
6. Otherwise `undecided`: a worsening that matters may hide in the noise.

Seeds that diverged have no value. If more of them diverge than in the baseline, a cell does not
pass, and they count among the two seeds that a regression of the others needs; if all diverge, at
least two, and none did before, it is a regression.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from lossbench.report.baseline import Baseline, BaselineCell, BaselineMetric, CellKey
from lossbench.report.spread import SampleVariance, Spread, moderated, sample_variance
from lossbench.report.statistics import LEVEL, Interval

Verdict = Literal["regression", "undecided", "new", "improved", "pass", "identical"]
ERROR = 1 - LEVEL
"""Chance of a false alarm of a whole check, and of an interval to miss the truth."""
FEWEST_SEEDS = 2
"""Below this many here, nothing is a regression: one seed may train badly."""
_ROUNDING = 1e-9  # of means of percentages


@dataclass(frozen=True)
class Finding:
    """What became of one cell for one metric.

    Attributes:
        cell: As measured; the baseline's where nothing was measured.
        metric: With its minimum effect.
        before: Its baseline; None for a new cell.
        after: What was measured; None where nothing was.
        verdict: See the module.
        reason: One sentence.
        matched: Seeds that are compared with themselves; empty if means are compared.
        delta: Mean here minus mean in the baseline, in the metric's unit.
        interval: Ordinary 95 % interval of delta.
        limit: By how much delta may differ from 0 by chance; None if unknown.
    """

    cell: BaselineCell
    metric: BaselineMetric
    before: BaselineCell | None
    after: BaselineCell | None
    verdict: Verdict
    reason: str
    matched: tuple[int, ...] = ()
    delta: float | None = None
    interval: Interval | None = None
    limit: float | None = None


def exit_code(findings: Iterable[Finding]) -> int:
    """1: a regression; 3: too little evidence for a cell; 0: neither."""
    verdicts = {finding.verdict for finding in findings}
    return 1 if "regression" in verdicts else 3 if "undecided" in verdicts else 0


def compare(baseline: Baseline, measured: Baseline) -> list[Finding]:
    """Judge every measured cell, in the order of `measured`.

    Args:
        baseline: Measured under the same conditions (`differences` is empty).
        measured: Cells without a counterpart are `new`.
    """
    pairs = [_Pair.of(cell, baseline, measured) for cell in measured.cells]
    open_pairs = [pair for pair in pairs if pair.before_values and pair.after_values]
    open_pairs = [pair for pair in open_pairs if not pair.identical]
    own = _spread_of_differences(open_pairs)
    noise = _spread_of_baseline(baseline)
    family = len(open_pairs)
    findings = []
    for pair in pairs:
        settled = _settled(pair)
        if settled is None:
            spreads = own[pair.cell.key], noise.get(pair.cell.key)
            settled = _weigh(pair, *spreads, error=ERROR / family)
        findings.append(settled)
    return findings


@dataclass(frozen=True)
class _Pair:
    """A measured cell beside its baseline, cut to the seeds that are compared."""

    cell: BaselineCell
    metric: BaselineMetric
    before: BaselineCell | None
    shared: frozenset[int]
    matched: tuple[int, ...]
    before_values: tuple[float, ...] = ()
    after_values: tuple[float, ...] = ()

    @classmethod
    def of(cls, cell: BaselineCell, baseline: Baseline, measured: Baseline) -> _Pair:
        before = baseline.by_key.get(cell.key)
        metric = baseline.metric.get(cell.metric, measured.metric[cell.metric])
        if before is None:
            return cls(cell, metric, None, frozenset(), ())
        shared = before.planned & cell.planned
        if shared not in (before.planned, cell.planned):
            shared = set()  # a few common seeds: all values of both sides say more
        matched = tuple(sorted(shared & before.by_seed.keys() & cell.by_seed.keys()))
        if matched:
            values = tuple(tuple(c.by_seed[seed] for seed in matched) for c in (before, cell))
        else:
            values = tuple(before.values), tuple(cell.values)
        return cls(cell, metric, before, frozenset(shared), matched, *values)

    def diverged(self, cell: BaselineCell) -> tuple[int, int]:
        """How many seeds diverged, of how many; of the shared seeds if there are some."""
        counted = self.shared or cell.planned
        return len(counted & {*cell.diverged}), len(counted)

    @property
    def identical(self) -> bool:
        if self.before is None or not self.shared:
            return False
        was, now = (self.shared & {*cell.diverged} for cell in (self.before, self.cell))
        return was == now and self.before_values == self.after_values

    @property
    def variance(self) -> SampleVariance:
        """Of the differences of the matched seeds, or of both sides' values."""
        both = self.before_values, self.after_values
        if not self.matched:
            return sample_variance(*both)
        return sample_variance([after - before for before, after in zip(*both, strict=True)])

    @property
    def variance_factors(self) -> tuple[float, float]:
        """Of the mean difference, in units of the differences' and of the values' variance."""
        two_means = 1 / len(self.before_values) + 1 / len(self.after_values)
        return (1 / len(self.matched) if self.matched else two_means), two_means

    @property
    def delta(self) -> float:
        return fmean(self.after_values) - fmean(self.before_values)

    @property
    def separated(self) -> bool:
        """Whether all values of one side lie beyond all values of the other."""
        before, after = self.before_values, self.after_values
        return min(after) > max(before) or max(after) < min(before)

    def found(self, verdict: Verdict, reason: str) -> Finding:
        return Finding(
            self.cell, self.metric, self.before, self.cell, verdict, reason, self.matched
        )


def _spread_of_differences(pairs: Sequence[_Pair]) -> dict[CellKey, Spread | None]:
    """Per cell; pooled over the cells of a column and metric that are compared in the same way."""
    groups: dict[tuple[str, str, bool], list[_Pair]] = {}
    for pair in pairs:
        kind = pair.cell.variant, pair.cell.metric, bool(pair.matched)
        groups.setdefault(kind, []).append(pair)
    spreads: dict[CellKey, Spread | None] = {}
    for group in groups.values():
        found = moderated([pair.variance for pair in group])
        spreads |= dict(zip((pair.cell.key for pair in group), found, strict=True))
    return spreads


def _spread_of_baseline(baseline: Baseline) -> dict[CellKey, Spread | None]:
    """Per cell, over its seeds; all cells of the column take part, not only those compared."""
    columns: dict[tuple[str, str], list[BaselineCell]] = {}
    for cell in baseline.cells:
        columns.setdefault((cell.variant, cell.metric), []).append(cell)
    spreads: dict[CellKey, Spread | None] = {}
    for cells in columns.values():
        found = moderated([sample_variance(cell.values) for cell in cells])
        spreads |= dict(zip((cell.key for cell in cells), found, strict=True))
    return spreads


def _settled(pair: _Pair) -> Finding | None:
    """What can be said without weighing values."""
    if pair.before is None:
        return pair.found("new", "not in the baseline")
    if pair.identical:
        return replace(pair.found("identical", "the same values, seed for seed"), delta=0.0)
    was, was_of = len(pair.before.diverged), len(pair.before.planned)
    now, now_of = len(pair.cell.diverged), len(pair.cell.planned)
    if not pair.after_values:
        verdict: Verdict = "pass" if was == was_of else "undecided"
        if was == 0 and now >= FEWEST_SEEDS:
            verdict = "regression"
        text = f"all {now} seeds diverged; in the baseline {was or 'none'} of {was_of}"
        return pair.found(verdict, text)
    if not pair.before_values:
        text = f"{now or 'none'} of {now_of} seeds diverged; in the baseline all {was}"
        return pair.found("improved", text)
    return None


def _weigh(pair: _Pair, own: Spread | None, noise: Spread | None, error: float) -> Finding:
    assert pair.before is not None
    metric, delta = pair.metric, pair.delta
    worse = -delta if metric.direction == "higher" else delta
    factors = pair.variance_factors
    known = [(s, f) for s, f in zip((own, noise), factors, strict=True) if s is not None]
    if not known:
        finding = pair.found("undecided", "nothing is known of the spread between seeds")
        return replace(finding, delta=delta)
    spread, factor = known[0]
    half = spread.half_width(factor, ERROR)
    witnesses = known if pair.separated else [w for w in known if w[0] is own]
    limit = min((s.half_width(f, error / len(known)) for s, f in witnesses), default=None)
    (was, was_of), (now, now_of) = pair.diverged(pair.before), pair.diverged(pair.cell)
    more_diverge = now * was_of > was * now_of
    witnessed = len(pair.after_values) + (now if more_diverge and worse > 0 else 0)
    matters = (
        witnessed >= FEWEST_SEEDS
        and abs(delta) >= metric.min_effect - _ROUNDING
        and limit is not None
        and abs(delta) > limit
    )
    verdict: Verdict
    if matters and worse > 0:
        verdict, reason = "regression", f"worse by {worse:.2f}; noise allows {limit:.2f}"
        if more_diverge:
            reason += f"; {now} of {now_of} seeds diverged, in the baseline {was or 'none'}"
    elif more_diverge:
        verdict = "undecided"
        reason = f"{now} of {now_of} seeds diverged; in the baseline {was or 'none'} of {was_of}"
    elif matters:
        verdict, reason = "improved", f"better by {-worse:.2f}; noise allows {limit:.2f}"
    elif worse + half <= metric.min_effect + _ROUNDING:
        verdict = "pass"
        reason = f"a worsening of {metric.min_effect:g} or more is ruled out"
    else:
        verdict = "undecided"
        reason = f"up to {worse + half:.2f} worse is possible; {metric.min_effect:g} would matter"
    interval = Interval(delta - half, delta + half)
    return replace(pair.found(verdict, reason), delta=delta, interval=interval, limit=limit)
