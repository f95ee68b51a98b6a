"""A cell and its baseline as a pair: their difference, and the spread it is compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lossbench.analysis.variance_pooling import (
    SampleVariance,
    Spread,
    pool_spreads,
    sample_variance,
)
from lossbench.gate.baseline import Baseline, BaselineCell, BaselineMetric, CellKey

_MAX_PRIOR_DF = 6.0
"""Largest weight of the common spread if no cell has more than two seeds."""


@dataclass(frozen=True)
class CellPair:
    """A current cell and its baseline, reduced to the seeds that are compared.

    Attributes:
        cell: Current cell.
        metric: Metric of the baseline, with its minimum effect; of the results if it is new.
        before: Cell of the baseline; None for a new cell.
        shared: Seeds of the smaller side if they are a subset of the other side's; else empty, and
            the means of all values are compared.
        matched: Shared seeds with a value on both sides, in ascending order.
        before_values, after_values: Values of the matched seeds; all values without matched seeds.
    """

    cell: BaselineCell
    metric: BaselineMetric
    before: BaselineCell | None
    shared: frozenset[int]
    matched: tuple[int, ...]
    before_values: tuple[float, ...] = ()
    after_values: tuple[float, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether each shared seed has the same value on both sides, or none on both."""
        if self.before is None:
            return False
        was, now = self.before.by_seed, self.cell.by_seed
        return bool(self.shared) and all(was.get(seed) == now.get(seed) for seed in self.shared)

    @property
    def delta(self) -> float:
        """Current mean minus mean of the baseline."""
        return fmean(self.after_values) - fmean(self.before_values)

    @property
    def worsening(self) -> float:
        """Delta with the sign that makes a worse mean positive."""
        return -self.delta if self.metric.direction == "higher" else self.delta

    @property
    def separated(self) -> bool:
        """Whether all values of one side are beyond all values of the other."""
        before, after = self.before_values, self.after_values
        return min(after) > max(before) or max(after) < min(before)

    @property
    def variance(self) -> SampleVariance:
        """Variance of the matched seeds' differences; of both sides' values without them."""
        both = self.before_values, self.after_values
        if not self.matched:
            return sample_variance(*both)
        return sample_variance([after - before for before, after in zip(*both, strict=True)])

    @property
    def variance_factors(self) -> tuple[float, float]:
        """Variance of delta in units of `variance`, and in units of the values' variance."""
        two_means = 1 / len(self.before_values) + 1 / len(self.after_values)
        return (1 / len(self.matched) if self.matched else two_means), two_means

    def diverged(self, cell: BaselineCell) -> tuple[int, int]:
        """Number of diverged seeds of one side and number of its seeds; shared seeds if any."""
        counted = self.shared or cell.seeds_with_result
        return len(counted & {*cell.diverged}), len(counted)


def pair_cells(baseline: Baseline, measured: Baseline) -> list[CellPair]:
    """Pair each current cell with its baseline, in the order of `measured`."""
    return [_pair(cell, baseline, measured) for cell in measured.cells]


def _pair(cell: BaselineCell, baseline: Baseline, measured: Baseline) -> CellPair:
    before = baseline.by_key.get(cell.key)
    metric = baseline.metric_by_name.get(cell.metric, measured.metric_by_name[cell.metric])
    if before is None:
        return CellPair(cell, metric, None, frozenset(), ())
    shared = before.seeds_with_result & cell.seeds_with_result
    if shared not in (before.seeds_with_result, cell.seeds_with_result):
        shared = set()
    matched = tuple(sorted(shared & before.by_seed.keys() & cell.by_seed.keys()))
    if matched:
        values = tuple(tuple(c.by_seed[seed] for seed in matched) for c in (before, cell))
    else:
        values = tuple(before.values), tuple(cell.values)
    return CellPair(cell, metric, before, frozenset(shared), matched, *values)


def spreads_of_differences(pairs: Sequence[CellPair]) -> dict[CellKey, Spread | None]:
    """Spread of each pair's differences, pooled with that of similar pairs.

    Pairs are similar if they have the same metric and both have matched seeds, or both have none.
    """
    tables: dict[tuple[str, bool], dict[CellKey, SampleVariance]] = {}
    for pair in pairs:
        table = tables.setdefault((pair.cell.metric, bool(pair.matched)), {})
        table[pair.cell.key] = pair.variance
    return {key: spread for table in tables.values() for key, spread in _pool(table).items()}


def spreads_of_baseline(baseline: Baseline) -> dict[CellKey, Spread | None]:
    """Spread of each baseline cell between its seeds, pooled over the cells of its metric."""
    tables: dict[str, dict[CellKey, SampleVariance]] = {}
    for cell in baseline.cells:
        tables.setdefault(cell.metric, {})[cell.key] = sample_variance(cell.values)
    return {key: spread for table in tables.values() for key, spread in _pool(table).items()}


def _pool(table: Mapping[CellKey, SampleVariance]) -> dict[CellKey, Spread | None]:
    """Pool the cells of one metric: columns are variants, rows are losses with parameters."""
    places = {key: (key[0], f"{key[1]} {key[2]}") for key in table}
    # with two seeds, even twenty variances rarely show whether they differ
    few = max((variance.df for variance in table.values()), default=0) <= 1
    spreads = pool_spreads(
        {places[key]: variance for key, variance in table.items()},
        _MAX_PRIOR_DF if few else math.inf,
    )
    return {key: spreads[place] for key, place in places.items()}
