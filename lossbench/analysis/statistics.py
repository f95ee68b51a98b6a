"""Mean, spread and interval of a cell's values; tests of the seed-matched difference of two cells.

Everything here is a pure function of numbers; `lossbench.analysis.comparison` applies them to a
table.

The distributions come from `scipy.special`. `scipy.stats` takes three times as long to import, and
its t tests and intervals differ in the last digits, because they do not compute means and standard
deviations exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev

from scipy.special import stdtr, stdtrit

LEVEL = 0.95
"""Coverage of every interval."""
ALPHA = 0.05
"""Family-wise error rate of the verdicts of a table."""
_ROUNDING = 1e-11  # of the values, which are quotients: their differences do not cancel exactly


@dataclass(frozen=True)
class Interval:
    """A two-sided interval, in the unit of the values."""

    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """Results of the trials of one cell for one metric.

    Attributes:
        values: Values of the finished trials, in seed order, in the metric's unit.
        diverged: Number of diverged trials, which have no value.
        missing: Number of planned trials without a result.
        seeds: Seeds of the values; empty if nothing is matched by seed.
        stopped: Number of trials that were stopped early, which have no value.
    """

    values: tuple[float, ...]
    diverged: int = 0
    missing: int = 0
    seeds: tuple[int, ...] = ()
    stopped: int = 0

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def planned(self) -> int:
        return self.n + self.diverged + self.stopped + self.missing

    @property
    def complete(self) -> bool:
        """Whether every planned trial finished."""
        return self.n == self.planned > 0

    @cached_property
    def mean(self) -> float | None:
        """Arithmetic mean; None without values."""
        return fmean(self.values) if self.values else None

    @cached_property
    def std(self) -> float | None:
        """Standard deviation with n - 1; None below two values."""
        return stdev(self.values) if self.n > 1 else None

    @cached_property
    def interval(self) -> Interval | None:
        """Student's t interval of the mean (95 %).

        None below two values, and if all values are equal: on few images that happens by chance,
        and an interval without width would claim certainty.
        """
        return t_interval(self.values)

    @property
    def by_seed(self) -> dict[int, float]:
        return dict(zip(self.seeds, self.values, strict=True))


@dataclass(frozen=True)
class MatchedDifference:
    """The seed-matched difference of two cells.

    Attributes:
        seeds: Seeds that finished in both cells.
        values: First minus second cell for each of these seeds, in the metric's unit.
    """

    seeds: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @cached_property
    def mean(self) -> float | None:
        """Arithmetic mean; 0 if only rounding errors are left, None without values."""
        if not self.values:
            return None
        found = fmean(self.values)
        return 0.0 if abs(found) <= _ROUNDING * max(map(abs, self.values)) else found

    @cached_property
    def std(self) -> float | None:
        """Standard deviation with n - 1; 0 if only rounding errors are left, None below two."""
        return _spread(self.values)

    @cached_property
    def interval(self) -> Interval | None:
        """Student's t interval of the mean difference (95 %, n - 1 degrees of freedom).

        Not corrected for other comparisons. None below two values or without spread.
        """
        return t_interval(self.values)

    @cached_property
    def p(self) -> float | None:
        """Two-sided p of the paired t test; None below two values or without spread."""
        if self.mean is None or not self.std:
            return None
        t = self.mean / (self.std / math.sqrt(self.n))
        return float(2 * stdtr(self.n - 1, -abs(t)))


def matched_difference(a: Summary, b: Summary) -> MatchedDifference:
    """a - b over the seeds that finished in both."""
    left, right = a.by_seed, b.by_seed
    seeds = tuple(seed for seed in left if seed in right)
    return MatchedDifference(seeds, tuple(_subtract(left[seed], right[seed]) for seed in seeds))


def _subtract(a: float, b: float) -> float:
    """a - b, exactly 0 if only rounding errors are left."""
    return 0.0 if math.isclose(a, b, rel_tol=_ROUNDING) else a - b


def _spread(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    found = stdev(values)
    return 0.0 if found <= _ROUNDING * max(map(abs, values)) else found


def t_interval(values: Sequence[float]) -> Interval | None:
    """Student's t interval (95 %) of the mean; None below two values or without spread."""
    std = _spread(values)
    if not std:
        return None
    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * std / math.sqrt(len(values))
    return Interval(fmean(values) - half, fmean(values) + half)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values so that the chance of any false rejection stays below the level.

    The smallest is multiplied by their number m, the next by m - 1, and so on; no adjusted value
    is below that of a smaller p. It is valid for any dependence between the tests, which are
    dependent here: all rows share the reference.

    Not from statsmodels, which gives the same digits but would add 67 MB for this function.

    Reference:
        Holm, Scandinavian Journal of Statistics 1979.
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    for rank, index in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


def smallest_exact_p(n: int) -> tuple[float, float]:
    """Smallest two-sided p that exact tests of n seeds per row can reach.

    Returns:
        p of the sign-flip test of matched differences, 2 / 2^n, and p of the two-sample permutation
        test, 2 / C(2n, n).
    """
    return 2 / 2**n, 2 / math.comb(2 * n, n)


def larger_share_p(before: tuple[int, int], after: tuple[int, int]) -> float:
    """One-sided p of Fisher's exact test for a larger share of diverged seeds.

    The binomial coefficients are exact, unlike the factorials in `scipy.stats.fisher_exact`.

    Args:
        before: Number of diverged seeds and number of seeds in the baseline.
        after: The same numbers now.
    """
    (was, was_of), (now, now_of) = before, after
    total = was + now
    ways = (
        math.comb(now_of, count) * math.comb(was_of, total - count)
        for count in range(now, min(total, now_of) + 1)
    )
    return sum(ways) / math.comb(was_of + now_of, total)
