"""Mean, spread and interval of a cell's values; the seed-matched difference of two cells.

Everything here is a pure function of numbers. What a difference means for a table is decided in
`lossbench.analysis.comparison`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtr, stdtr, stdtrit

LEVEL = 0.95
"""Coverage of every interval in the report."""
ALPHA = 0.05
"""Chance of at least one false verdict that a table may run."""
POWER = 0.8
"""Chance of a verdict, where a gap is said to be within reach."""
MOST_SEEDS = 1000
_ROUNDING = 1e-11  # of the values, which are quotients: their differences do not cancel exactly


@dataclass(frozen=True)
class Interval:
    """A two-sided interval, in the unit of the values."""

    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """What the trials of one cell say about one metric.

    Attributes:
        values: Of the trials that finished, in seed order, in the metric's unit.
        diverged: Number of trials that diverged; they have no value.
        missing: Number of planned trials without a result.
        stopped: Number of trials that were stopped early; they are no results either.
        seeds: Of the values, one each; empty where nothing is matched by seed.
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

        None below two values, and where all values are equal: on few images that is luck, and
        an interval without width would claim certainty.
        """
        return t_interval(self.values)

    @property
    def by_seed(self) -> dict[int, float]:
        return dict(zip(self.seeds, self.values, strict=True))


@dataclass(frozen=True)
class Difference:
    """The seed-matched difference of two cells.

    Attributes:
        seeds: Those that finished in both cells.
        values: First minus second cell, one a seed, in the metric's unit.
    """

    seeds: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @cached_property
    def mean(self) -> float | None:
        """0 where only rounding is left; None without values."""
        if not self.values:
            return None
        found = fmean(self.values)
        return 0.0 if abs(found) <= _ROUNDING * max(map(abs, self.values)) else found

    @cached_property
    def std(self) -> float | None:
        """Standard deviation with n - 1; 0 where only rounding is left, None below two values."""
        return _spread(self.values)

    @cached_property
    def interval(self) -> Interval | None:
        """Student's t interval of the mean difference (95 %, n - 1 degrees of freedom).

        Of this one comparison, not corrected for others. None below two values or without spread.
        """
        return t_interval(self.values)

    @cached_property
    def p(self) -> float | None:
        """Two-sided p of the paired t test; None below two values or without spread."""
        if self.mean is None or not self.std:
            return None
        t = self.mean / (self.std / math.sqrt(self.n))
        return float(2 * stdtr(self.n - 1, -abs(t)))


def matched(a: Summary, b: Summary) -> Difference:
    """a - b over the seeds that finished in both."""
    left, right = a.by_seed, b.by_seed
    seeds = tuple(seed for seed in left if seed in right)
    return Difference(seeds, tuple(_clean(left[seed], right[seed]) for seed in seeds))


def _clean(a: float, b: float) -> float:
    """a - b, exactly 0 where only rounding is left."""
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
    is below that of a smaller p. Holds however the tests depend on each other, which they do:
    all rows share the reference.

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


def power(n: int, effect: float, alpha: float) -> float:
    """Chance that a two-sided paired t test of n differences finds an effect.

    Args:
        n: Number of matched seeds, at least 2.
        effect: True mean difference / true standard deviation of the differences, at least 0.
        alpha: Level of the test.
    """
    shift, critical = effect * math.sqrt(n), float(stdtrit(n - 1, 1 - alpha / 2))
    # the noncentral t distribution, given the measured spread: there it is a normal one
    scaled = critical * _spreads(n - 1)
    return float(np.mean(ndtr(shift - scaled) + ndtr(-shift - scaled)))


@cache
def _spreads(freedom: int) -> NDArray[np.float64]:
    """Measured / true standard deviation: equally likely values, from the chi distribution.

    scipy's `nctdtr` would need none of this, but is NaN here and there at few degrees of freedom.
    """
    shares = (np.arange(2000) + 0.5) / 2000
    return np.asarray(np.sqrt(chdtri(freedom, shares) / freedom))


def seeds_to_decide(gap: float, std: float, alpha: float) -> int | None:
    """Smallest number of seeds that finds this gap with 80 % power.

    Args:
        gap: Mean difference, not 0.
        std: Standard deviation of the differences, above 0.
        alpha: Level of the two-sided paired t test.

    Returns:
        None above 1000.
    """
    effect = abs(gap) / std
    low, high = 1, MOST_SEEDS
    if power(high, effect, alpha) < POWER:
        return None
    while high - low > 1:  # power grows with n
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle, effect, alpha) >= POWER else (middle, high)
    return high


def smallest_gap(n: int, std: float, alpha: float) -> float:
    """Smallest true mean difference that n matched seeds find with 80 % power.

    Args:
        n: Number of matched seeds, at least 2.
        std: Standard deviation of the differences, above 0.
        alpha: Level of the two-sided paired t test.
    """
    # P(t > critical) passes 80 % below 5 critical values, even with one degree of freedom
    low, high = 0.0, 5 * float(stdtrit(n - 1, 1 - alpha / 2)) / math.sqrt(n)
    for _ in range(50):  # power grows with the effect
        middle = (low + high) / 2
        low, high = (low, middle) if power(n, middle, alpha) >= POWER else (middle, high)
    return std * high


def smallest_exact_p(n: int) -> tuple[float, float]:
    """Smallest two-sided p that exact tests of n seeds a row can reach.

    Returns:
        Of the matched differences by flipping their signs, 2 / 2^n; of two rows by exchanging
        values between them, 2 / C(2n, n).
    """
    return 2 / 2**n, 2 / math.comb(2 * n, n)


def larger_share_p(before: tuple[int, int], after: tuple[int, int]) -> float:
    """One-sided p of Fisher's exact test that the share of seeds that diverge has grown.

    Args:
        before: How many seeds diverged, and of how many.
        after: The same of the other side.
    """
    (was, was_of), (now, now_of) = before, after
    total = was + now
    ways = (
        math.comb(now_of, count) * math.comb(was_of, total - count)
        for count in range(now, min(total, now_of) + 1)
    )
    return sum(ways) / math.comb(was_of + now_of, total)
