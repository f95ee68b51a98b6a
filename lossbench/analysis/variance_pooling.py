"""The spread between seeds of many small cells: pooled as far as the cells agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev, variance

from scipy.optimize import brentq
from scipy.special import digamma, polygamma, stdtrit

_MOST_PRIOR_DF = 6.0
"""Degrees of freedom that the common spread counts for, at most, in a cell of two seeds."""
_NO_SCATTER = 1e-6  # of log variances, below which the cells count as equally spread


@dataclass(frozen=True)
class Spread:
    """A standard deviation, and on how many degrees of freedom it rests.

    Attributes:
        sd: In the unit of the values; above 0.
        df: Degrees of freedom, above 0.
    """

    sd: float
    df: float

    def half_width(self, variance_factor: float, error: float) -> float:
        """Half of a two-sided t interval.

        Args:
            variance_factor: Variance of the estimate in units of the values' variance: 1/n for
                a mean, 1/n + 1/m for a difference of two.
            error: Chance, in (0, 1), that the interval misses the truth.
        """
        quantile = float(stdtrit(self.df, 1 - error / 2))
        return quantile * self.sd * math.sqrt(variance_factor)


@dataclass(frozen=True)
class SampleVariance:
    """The variance that one cell shows, and its degrees of freedom (0: it shows none)."""

    value: float
    df: int


def sample_variance(*groups: Sequence[float]) -> SampleVariance:
    """Of values around the mean of their own group, pooled over the groups, with n - 1 each."""
    df = sum(len(group) - 1 for group in groups if group)
    if df == 0:
        return SampleVariance(0.0, 0)
    squares = sum(stdev(group) ** 2 * (len(group) - 1) for group in groups if len(group) > 1)
    return SampleVariance(squares / df, df)


def moderated(cells: Sequence[SampleVariance]) -> list[Spread | None]:
    """Each cell's spread, drawn towards that of all cells.

    Two or three seeds say little about a cell's own spread, and one pooled number would be wrong
    where some losses train steadily and others do not. So each variance is averaged with a
    common one, (d0 s0^2 + d s^2) / (d0 + d), on d0 + d degrees of freedom. d0 comes from the
    cells themselves: it is infinite where their variances scatter no more than chance has it
    (then this is the pooled spread), and small where they differ. No cell's spread is taken to be
    below its own: one wild cell among steady ones would raise false alarms.

    Variances on one degree of freedom scatter so widely that even twenty cells rarely show whether
    they differ, and d0 is often infinite where it should not be. In a cell with at most one degree
    of freedom d0 is therefore at most 6. In simulated checks of 20 cells and two seeds this keeps
    false alarms below 5 %, where there would be up to 8 %.

    A variance of exactly 0 is luck (equal error counts) and does not enter the common one.

    Returns:
        One for each cell; None where nothing is known of its spread.

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
        leaning = prior_df if cell.df > 1 else min(prior_df, _MOST_PRIOR_DF)
        if math.isinf(leaning):
            value, df = prior, float(total_df)
        else:
            df = leaning + cell.df
            value = (leaning * prior + cell.df * cell.value) / df if df else 0.0
        value = max(value, cell.value)
        usable = df > 0 and value > 0
        spreads.append(Spread(math.sqrt(value), min(df, total_df)) if usable else None)
    return spreads


def _prior(known: Sequence[SampleVariance]) -> tuple[float, float]:
    """The common variance s0^2 and its degrees of freedom d0 (Smyth 2004, Sect. 6.2)."""
    if len(known) == 1:
        return 0.0, 0.0  # nothing to lean on
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
    """x > 0 with trigamma(x) = value > 0; trigamma falls from infinity to 0."""
    low, high = 1 / math.sqrt(value) / 2, 1 / value + 1 / math.sqrt(value) + 1
    return float(brentq(lambda x: float(polygamma(1, x)) - value, low, high))
