"""Whether a cell has become worse: the rule of `lossbench check`.

A cell of one metric, by what its seeds gave (a seed that diverged, or whose metric is not finite,
gave no value):

| in the baseline | now | verdict |
| --- | --- | --- |
| no such cell | | `new` |
| the same values, seed for seed, and the same seeds without one | | `identical` |
| values | no value | `regression` |
| no value | no value | `pass` |
| no value | values | `improved` |
| values | values, and a larger share of seeds without one than chance allows | `regression` |
| values | values, and a larger share of seeds without one | `regression` or `undecided` |
| values | values, and no larger share of seeds without one | any, by the values |
| values | not measured: the held-out part chose another row, or stopped this one | `undecided` |
| values | not measured: no row of its loss finished, so that none was chosen | `regression` |

"Than chance allows" is Fisher's exact test (one-sided). Trials that were not run are an error, not
a verdict. Values are compared so:

1. The difference is that of the means; where one side's seeds are all among the other's, only
   the shared seeds count, each compared with itself.
2. Two noises are known. That of the differences: how they scatter over the seeds (or, without
   shared seeds, how both sides' values scatter around their means). And that of the baseline:
   how its own values scatter over its seeds. Both are pooled over the cells of a column as far as
   those agree (`lossbench.analysis.variance_pooling`).
3. `regression`: at least two seeds, worse by at least the minimum effect, and by more than one of
   the noises allows. What a noise allows is set so that if nothing changed but chance, all cells
   and both noises together raise a false alarm in about 5 % of checks (Bonferroni). The
   baseline's noise knows nothing of a seed that trains badly once in ten times, so it counts only
   where every value here is worse than every value of the baseline. `improved` is the mirror image.
4. `pass`: even the bad end of the ordinary 95 % interval of the difference is within the minimum
   effect. Nothing is divided by the number of cells here: each cell has to show it.
5. Otherwise `undecided`: a worsening that matters may hide in the noise.

If a larger share of seeds gave no value than in the baseline, a cell does not pass, and these count
among the two seeds that a regression of the others needs.

In simulated checks without any change (normal values, 4 to 60 cells of equal spread, of spreads
e^N(0, 0.7) and e^N(0, 1), or one cell 5 times as wide as the others) false alarms came in at most
5 % with three seeds or more. With two seeds they came in about 5 % or less if the spreads are equal
or from 20 cells on, and in up to 7.6 % of checks with fewer cells of unequal spread.

The ordinary interval and what noise allows are two statistics, and may differ on whether the cell
has changed; the finding's reason then says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from lossbench.analysis.number_format import difference_unit, format_spec, with_unit
from lossbench.analysis.statistics import LEVEL, Interval, larger_share_p
from lossbench.analysis.variance_pooling import SampleVariance, Spread, moderated, sample_variance
from lossbench.gate.baseline import Baseline, BaselineCell, BaselineMetric, CellKey

Verdict = Literal["regression", "undecided", "new", "improved", "pass", "identical"]
ERROR = 1 - LEVEL
"""Chance of a false alarm of a whole check, and of an interval to miss the truth."""
FEWEST_SEEDS = 2
"""Below this many here, nothing is a regression: one seed may train badly."""
_ROUNDING = 1e-9  # of means, as a share of the minimum effect


@dataclass(frozen=True)
class Finding:
    """What became of one cell for one metric.

    Attributes:
        cell: As measured; the baseline's where nothing was measured.
        metric: With its minimum effect.
        before: Its baseline; None for a new cell.
        after: What was measured; None where nothing was.
        verdict: See the module.
        reason: Why, in one line; also why the interval seems to say something else, if it does.
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
        """Whether every shared seed gave the same value, or none on both sides."""
        if self.before is None:
            return False
        was, now = self.before.by_seed, self.cell.by_seed
        return bool(self.shared) and all(was.get(seed) == now.get(seed) for seed in self.shared)

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
    def spec(self) -> str:
        """Format specification of the values and of their differences."""
        return format_spec(self.metric.unit, self.before_values + self.after_values)

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
    """The finding of a cell whose values need not be compared; None for the others."""
    if pair.before is None:
        return pair.found("new", "not in the baseline")
    if pair.identical:
        if not pair.before_values:
            return pair.found("identical", "the same seeds diverged")
        return replace(pair.found("identical", "the same values, seed for seed"), delta=0.0)
    was, was_of = len(pair.before.diverged), len(pair.before.planned)
    now, now_of = len(pair.cell.diverged), len(pair.cell.planned)
    if not pair.after_values:
        verdict: Verdict = "regression" if pair.before_values else "pass"
        return pair.found(verdict, _diverged_text(now, now_of, was, was_of))
    if not pair.before_values:
        return pair.found("improved", _diverged_text(now, now_of, was, was_of))
    return None


def _diverged_text(now: int, now_of: int, was: int, was_of: int) -> str:
    """`2 of 3 seeds diverged; in the baseline none of 3`."""
    seeds = "seed" if now_of == 1 else "seeds"
    return (
        f"{now or 'none'} of {now_of} {seeds} diverged; in the baseline {was or 'none'} of {was_of}"
    )


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
    (was, was_of), (now, now_of) = pair.diverged(pair.before), pair.diverged(pair.cell)
    more_diverge = now * was_of > was * now_of
    tests = len(known) + more_diverge
    witnesses = known if pair.separated else [w for w in known if w[0] is own]
    limit = min((s.half_width(f, error / tests) for s, f in witnesses), default=None)
    witnessed = len(pair.after_values) + (now if more_diverge and worse > 0 else 0)
    beyond_noise = limit is not None and abs(delta) > limit
    large = abs(delta) >= metric.min_effect * (1 - _ROUNDING)
    matters = witnessed >= FEWEST_SEEDS and large and beyond_noise
    divergence = _diverged_text(now, now_of, was, was_of)
    unit, spec = difference_unit(metric.unit), pair.spec
    smallest = with_unit(f"{metric.min_effect:g}", unit)

    def amount(difference: float | None) -> str:
        return "" if difference is None else with_unit(f"{difference:{spec}}", unit)

    verdict: Verdict
    if matters and worse > 0:
        verdict, reason = "regression", f"worse by {amount(worse)}; noise allows {amount(limit)}"
        if more_diverge:
            reason += f"; {divergence}"
    elif more_diverge and larger_share_p((was, was_of), (now, now_of)) <= error / tests:
        verdict, reason = "regression", f"{divergence}, which is more than chance allows"
    elif more_diverge:
        verdict, reason = "undecided", divergence
    elif matters:
        verdict, reason = "improved", f"better by {amount(-worse)}; noise allows {amount(limit)}"
    elif worse + half <= metric.min_effect * (1 + _ROUNDING):
        verdict = "pass"
        reason = f"a worsening of {smallest} or more is ruled out"
    else:
        verdict = "undecided"
        reason = f"up to {amount(worse + half)} worse is possible; {smallest} would matter"
    interval = Interval(delta - half, delta + half)
    if abs(delta) <= half and matters:
        reason += (
            "; the interval contains 0 because the values differ more from seed to seed than in "
            "the baseline: the verdict is by the baseline's noise, and every value here is "
            f"{'worse' if worse > 0 else 'better'} than every value there"
        )
    elif abs(delta) > half and verdict == "undecided":
        reason += (
            f"; the interval excludes 0, but {_objection(witnessed, large, worse, amount(limit))}"
        )
    return replace(pair.found(verdict, reason), delta=delta, interval=interval, limit=limit)


def _objection(witnessed: int, large: bool, worse: float, limit: str) -> str:
    """Why a cell is undecided although its interval excludes 0."""
    if worse < 0:
        return "a cell of which more seeds diverge is not improved"
    if witnessed < FEWEST_SEEDS:
        return "one seed may train badly"
    if not large:
        return "this difference is below the minimum effect"
    if not limit:
        return "values here lie among those of the baseline"
    return (
        f"it is the ordinary one of this cell: a regression must exceed {limit}, which chance "
        f"does in {100 * ERROR:g} % of checks in any of their cells"
    )
