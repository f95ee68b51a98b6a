"""Power of the tests of a seed-matched difference, and numbers of seeds that follow from it."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtr, stdtrit

POWER = 0.8
"""Statistical power for numbers of seeds and minimum detectable differences."""
MAX_SEEDS = 1000
"""Largest number of seeds that is worth reporting."""

_SHARES = 500  # of the distribution of the measured spread


@dataclass(frozen=True)
class SeedSpread:
    """Spread of a seed-matched difference, and its degrees of freedom with more seeds.

    Attributes:
        sd: Standard deviation of the difference at one seed, above 0.
        df: Degrees of freedom with `n` seeds.
        n: Number of matched seeds, at least 2.
    """

    sd: float
    df: float
    n: int

    def df_with(self, seeds: int) -> float:
        """Degrees of freedom with another number of seeds, which grow like n - 1."""
        return self.df * (seeds - 1) / (self.n - 1)


def power(n: int, effect: float, alpha: float, df: float) -> float:
    """Probability that a two-sided t test of the mean of n differences detects an effect.

    Integrated over the spread, because scipy's and statsmodels' noncentral t distribution is NaN
    for many large effects.

    Args:
        n: Number of matched seeds.
        effect: True mean difference / true standard deviation of the differences, at least 0.
        alpha: Level of the test.
        df: Degrees of freedom of the measured standard deviation; n - 1 in a paired t test.
    """
    shift, critical = effect * math.sqrt(n), float(stdtrit(df, 1 - alpha / 2))
    # given the measured spread, the noncentral t distribution is a normal one
    scaled = critical * _relative_spreads(df)
    return float(np.mean(ndtr(shift - scaled) + ndtr(-shift - scaled)))


def equivalence_power(n: int, effect: float, margin: float, alpha: float, df: float) -> float:
    """Probability that the interval of the mean of n differences lies within ± margin.

    Args:
        n, effect, alpha, df: As in `power`.
        margin: Margin / true standard deviation of the differences, above 0.
    """
    half = float(stdtrit(df, 1 - alpha / 2)) * _relative_spreads(df)
    root = math.sqrt(n)
    inside = ndtr((margin - effect) * root - half) - ndtr((-margin - effect) * root + half)
    return float(np.mean(np.maximum(inside, 0.0)))


@lru_cache(maxsize=1024)
def _relative_spreads(df: float) -> NDArray[np.float64]:
    """Equally likely values of measured / true standard deviation, from the chi distribution."""
    shares = (np.arange(_SHARES) + 0.5) / _SHARES
    return np.asarray(np.sqrt(chdtri(df, shares) / df))


def seeds_to_decide(
    difference: float,
    spread: SeedSpread,
    alpha: float,
    margin: float | None = None,
    equivalence_alpha: float | None = None,
    *,
    probability: float = POWER,
) -> int | None:
    """Smallest number of seeds that decides a difference of this size with 80 % power.

    Args:
        difference: Mean difference.
        spread: Spread of the differences.
        alpha: Level of the two-sided t test.
        margin: Margin of equivalence, in the metric's unit; None if there is none.
        equivalence_alpha: Level of the interval that shows equivalence; by default `alpha`.
        probability: Power.

    Returns:
        Number of seeds that shows a difference or an equivalence, whichever takes fewer; None
        above `MAX_SEEDS`.
    """
    effect = abs(difference) / spread.sd

    def detected(n: int) -> float:
        return power(n, effect, alpha, spread.df_with(n))

    def equivalent(n: int) -> float:
        assert margin is not None
        level = alpha if equivalence_alpha is None else equivalence_alpha
        return equivalence_power(n, effect, margin / spread.sd, level, spread.df_with(n))

    found = None
    for reached in (detected, equivalent) if margin else (detected,):
        most = MAX_SEEDS if found is None else found - 1  # only fewer matter
        if most >= 2 and reached(most) >= probability:  # it grows with n
            found = bisect_left(range(most), probability, lo=2, key=reached)
    return found


def min_detectable_difference(spread: SeedSpread, alpha: float) -> float:
    """Smallest true mean difference that so many matched seeds detect with 80 % power.

    Args:
        spread: Spread of the differences.
        alpha: Level of the two-sided t test.
    """
    n, df = spread.n, spread.df
    # P(t > critical) passes 80 % below 5 critical values, even with one degree of freedom
    low, high = 0.0, 5 * float(stdtrit(df, 1 - alpha / 2)) / math.sqrt(n)
    for _ in range(50):  # power grows with the effect
        middle = (low + high) / 2
        low, high = (low, middle) if power(n, middle, alpha, df) >= POWER else (middle, high)
    return spread.sd * high
