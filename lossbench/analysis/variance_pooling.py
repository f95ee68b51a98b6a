"""The spread between seeds of many small cells, pooled as far as the cells agree.

The method is empirical Bayes, as in limma."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev, variance

from scipy.optimize import brentq
from scipy.special import digamma, polygamma, stdtrit

_MAX_PRIOR_DF = 6.0
"""Largest number of degrees of freedom of the common spread in a cell of two seeds."""
_NO_SCATTER = 1e-6  # of log variances, below which the cells count as equally spread


@dataclass(frozen=True)
class Spread:
    """A standard deviation and its degrees of freedom.

    Attributes:
        sd: Standard deviation in the unit of the values, above 0.
        df: Degrees of freedom, above 0.
    """

    sd: float
    df: float

    def half_width(self, variance_factor: float, alpha: float) -> float:
        """Half the width of a two-sided t interval.

        Args:
            variance_factor: Variance of the estimate in units of the values' variance: 1/n for
                a mean, 1/n + 1/m for a difference of two.
            alpha: Probability, in (0, 1), that the interval misses the true value.
        """
        quantile = float(stdtrit(self.df, 1 - alpha / 2))
        return quantile * self.sd * math.sqrt(variance_factor)


@dataclass(frozen=True)
class SampleVariance:
    """The variance of one cell.

    Attributes:
        value: Variance; 0 if the values do not vary, or if there are no degrees of freedom.
        df: Degrees of freedom.
    """

    value: float
    df: int


def sample_variance(*groups: Sequence[float]) -> SampleVariance:
    """Variance around the mean of each group, pooled over the groups, with n - 1 each."""
    df = sum(len(group) - 1 for group in groups if group)
    if df == 0:
        return SampleVariance(0.0, 0)
    squares = sum(stdev(group) ** 2 * (len(group) - 1) for group in groups if len(group) > 1)
    return SampleVariance(squares / df, df)


def moderated(cells: Sequence[SampleVariance]) -> list[Spread | None]:
    """Spread of each cell, moderated by that of all cells.

    Two or three seeds give an imprecise estimate of a cell's own spread, and one pooled estimate
    would be wrong if some losses train steadily and others do not. Therefore each variance is
    averaged with a common one, (d0 s0^2 + d s^2) / (d0 + d), with d0 + d degrees of freedom. d0 is
    estimated from the cells: it is infinite if their variances scatter no more than by chance
    (the result is then the pooled spread), and small if they differ. A cell's spread is never
    below its own estimate: one cell with a large spread would otherwise raise false alarms.

    Variances with one degree of freedom scatter so widely that even twenty cells rarely show
    whether they differ, and d0 is often infinite although they do. In a cell with at most one
    degree of freedom, d0 is therefore at most 6. In simulated checks of 20 cells and two seeds,
    this keeps false alarms below 5 %, instead of up to 8 %.

    A variance of exactly 0 happens by chance (equal error counts) and is not part of the common
    one.

    Returns:
        One spread per cell; None if it is unknown.

    Reference:
        Smyth, Statistical Applications in Genetics and Molecular Biology 2004.
    """
    known = [cell for cell in cells if cell.df > 0 and cell.value > 0]
    if not known:
        return [None] * len(cells)
    prior, prior_df = _prior(known)
    total_df = sum(cell.df for cell in known)
    spreads: list[Spread | None] = []
    for cell in cells:
        common_df = prior_df if cell.df > 1 else min(prior_df, _MAX_PRIOR_DF)
        if math.isinf(common_df):
            value, df = prior, float(total_df)
        else:
            df = common_df + cell.df
            value = (common_df * prior + cell.df * cell.value) / df if df else 0.0
        value = max(value, cell.value)
        usable = df > 0 and value > 0
        spreads.append(Spread(math.sqrt(value), min(df, total_df)) if usable else None)
    return spreads


def _prior(known: Sequence[SampleVariance]) -> tuple[float, float]:
    """Common variance s0^2 and its degrees of freedom d0 (Smyth 2004, Sect. 6.2)."""
    if len(known) == 1:
        return 0.0, 0.0  # no other cell
    logs = [math.log(c.value) - digamma(c.df / 2) + math.log(c.df / 2) for c in known]
    scatter = variance(logs)
    scatter -= fmean(float(polygamma(1, c.df / 2)) for c in known)
    if scatter < _NO_SCATTER:
        total_df = sum(c.df for c in known)
        return sum(c.value * c.df for c in known) / total_df, math.inf
    half_df = _inverse_trigamma(scatter)
    log_prior = fmean(logs) + digamma(half_df) - math.log(half_df)
    return math.exp(log_prior), 2 * half_df


def _inverse_trigamma(value: float) -> float:
    """x > 0 with trigamma(x) = value > 0; trigamma decreases from infinity to 0."""
    low, high = 1 / math.sqrt(value) / 2, 1 / value + 1 / math.sqrt(value) + 1
    return float(brentq(lambda x: float(polygamma(1, x)) - value, low, high))
