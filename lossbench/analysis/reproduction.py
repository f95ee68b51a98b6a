"""Whether a measured mean reproduces a published one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from scipy.special import stdtrit

from lossbench.analysis.published import Published
from lossbench.analysis.statistics import LEVEL, Interval, Summary
from lossbench.analysis.variance_pooling import Spread, pool_spreads, sample_variance

ReproductionKind = Literal["reproduced", "better", "worse", "undecided", "none"]
PUBLISHED_SEEDS = 3
"""Number of trainings behind a published mean and standard deviation."""
MAX_PRIOR_DF = 2.0
"""Largest weight of the other cells in a cell's spread. A seed shifts all rows of a column alike,
and does not cancel here: the rows' variances are not independent. In simulated tables of six rows
and three seeds, whose seeds shift the rows as much as a row varies by itself, 95 % intervals
without a published standard deviation cover 95 % (94 % without this limit); with three times that
shift 92 % (90 %)."""
Key = tuple[str, str]


@dataclass(frozen=True)
class Reproduction:
    """A measured cell compared with its published number.

    Attributes:
        published: Published number.
        n: Number of measured seeds with a value.
        gap: Measured mean minus published mean, in the metric's unit; None without a value.
        interval: Welch's 95 % interval of the gap; None if the measured spread is unknown.
        margin: Largest gap that counts as none, in the metric's unit; None if there is no such
            number.
        outcome: `reproduced` if the interval lies within ± margin, else `better` or `worse` if it
            excludes 0, else `undecided`; `none` without a value or an interval.
    """

    published: Published
    n: int
    gap: float | None
    interval: Interval | None
    margin: float | None
    outcome: ReproductionKind


def compare_with_published(
    cells: Mapping[Key, Summary],
    published: Mapping[Key, Published],
    margins: Mapping[Key, float],
    higher: bool,
) -> dict[Key, Reproduction]:
    """Compare each cell that has a published number with it.

    gap = measured mean - published mean, with the standard error sqrt(s^2 / n + std^2 / 3) and the
    degrees of freedom of Welch and Satterthwaite. s^2 is the variance of the measured values over
    the seeds, pooled over the table (`pool_spreads`). Seeds do not match those of a paper, so the
    effect of the seed is part of it, unlike in the verdicts.

    A published number without a standard deviation counts as exact. Intervals are not corrected
    for several comparisons.

    Args:
        cells: (variant, row label) -> results of all cells of the table.
        published: (variant, row label) -> published number.
        margins: (variant, row label) -> largest gap that counts as none.
        higher: Whether higher is better.
    """
    spreads = pool_spreads(
        {key: sample_variance(summary.values) for key, summary in cells.items()}, MAX_PRIOR_DF
    )
    return {
        key: _compare(cells[key], spreads[key], number, margins.get(key), higher)
        for key, number in published.items()
    }


def _compare(
    summary: Summary, spread: Spread | None, number: Published, margin: float | None, higher: bool
) -> Reproduction:
    if summary.mean is None:
        return Reproduction(number, 0, None, None, margin, "none")
    gap = summary.mean - number.mean
    if spread is None:
        return Reproduction(number, summary.n, gap, None, margin, "none")
    half = _half_width(spread, summary.n, number.std or 0.0)
    interval = Interval(gap - half, gap + half)
    outcome: ReproductionKind = "undecided"
    if margin is not None and max(-interval.low, interval.high) <= margin:
        outcome = "reproduced"
    elif not interval.low <= 0 <= interval.high:
        outcome = "better" if (gap > 0) == higher else "worse"
    return Reproduction(number, summary.n, gap, interval, margin, outcome)


def _half_width(spread: Spread, n: int, published_std: float) -> float:
    """Half the width of Welch's interval; the published side has n - 1 degrees of freedom."""
    measured = spread.sd**2 / n
    paper = published_std**2 / PUBLISHED_SEEDS
    df = (measured + paper) ** 2 / (measured**2 / spread.df + paper**2 / (PUBLISHED_SEEDS - 1))
    return float(stdtrit(df, (1 + LEVEL) / 2)) * math.sqrt(measured + paper)
