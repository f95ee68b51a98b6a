"""Mean, spread and interval of a cell's values; the difference between two cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev

from scipy.special import stdtrit

LEVEL = 0.95
"""Coverage of every interval in the report."""


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
    """

    values: tuple[float, ...]
    diverged: int = 0
    missing: int = 0

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def planned(self) -> int:
        return self.n + self.diverged + self.missing

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
        """Student's t interval of the mean (95 %); None below two values."""
        if self.mean is None or self.std is None:
            return None
        half = t_quantile(self.n - 1) * self.std / math.sqrt(self.n)
        return Interval(self.mean - half, self.mean + half)


def t_quantile(degrees_of_freedom: float) -> float:
    """Two-sided quantile of Student's t distribution at `LEVEL`."""
    return float(stdtrit(degrees_of_freedom, (1 + LEVEL) / 2))


def difference(a: Summary, b: Summary) -> Interval | None:
    """Welch's t interval (95 %) of mean(a) - mean(b), variances not assumed equal.

    Returns:
        None where a cell has fewer than two values, or values without any spread.

    Reference:
        Welch, Biometrika 1947.
    """
    if a.mean is None or b.mean is None or a.std is None or b.std is None:
        return None
    gap = a.mean - b.mean
    parts = [a.std**2 / a.n, b.std**2 / b.n]
    variance = sum(parts)
    if 0 in parts:  # equal by luck: on few images one error more is a visible step
        return None
    # Welch-Satterthwaite
    df = variance**2 / (parts[0] ** 2 / (a.n - 1) + parts[1] ** 2 / (b.n - 1))
    half = t_quantile(df) * math.sqrt(variance)
    return Interval(gap - half, gap + half)
