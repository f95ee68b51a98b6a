"""Average rank of each row across the columns of a table, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossbench.analysis.statistics import LEVEL, Interval, Summary

RESAMPLES = 2000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rank:
    """Rank of one row.

    Attributes:
        row: Label of the row.
        mean: Average rank; 1 is best.
        interval: 95 % interval of the average rank; None with one seed.
        by_variant: Rank in each column.
    """

    row: str
    mean: float
    interval: Interval | None
    by_variant: Mapping[str, float]


@dataclass(frozen=True)
class Ranks:
    """Ranks of the rows with results in every column.

    Attributes:
        listed: Ranks, best first.
        variants: Names of the columns.
        seeds: Largest number of seeds of a cell.
        left_out: Labels of rows without results in some column.
    """

    listed: tuple[Rank, ...]
    variants: tuple[str, ...]
    seeds: int
    left_out: tuple[str, ...]


def rank_rows(
    cells: Mapping[tuple[str, str], Summary], variants: Sequence[str], higher: bool
) -> Ranks | None:
    """Rank the rows by their means in each column, and average over the columns.

    The interval is a percentile bootstrap over the seeds: in each column, seeds are drawn with
    replacement, the same seeds for all rows, because rows are matched by seed. Columns are not
    drawn, because a suite's variants are chosen and not a sample.

    Args:
        cells: (variant, row label) -> results of the cell.
        variants: Names of the columns.
        higher: Whether higher is better.

    Returns:
        None below two columns, or below two rows with results in all of them.
    """
    labels = list(dict.fromkeys(row for _, row in cells))
    ranked = [row for row in labels if all(_has_result(cells.get((v, row))) for v in variants)]
    if len(variants) < 2 or len(ranked) < 2:
        return None
    random = np.random.default_rng(0)
    ranks, drawn = [], []
    for variant in variants:
        values = _by_seed([cells[variant, row] for row in ranked])  # (R, S)
        values = -values if higher else values
        seeds = values.shape[1]
        picks = random.integers(0, seeds, (RESAMPLES, seeds))  # (B, S)
        ranks.append(_ranks(values))  # (R,)
        drawn.append(_ranks(values[:, picks].transpose(1, 0, 2)))  # (B, R)
    means = np.mean(ranks, 0)  # (R,)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.mean(drawn, 0), [tail, 1 - tail], axis=0)  # (R,) each
    most = max(cells[variant, row].n for variant in variants for row in ranked)
    listed = [
        Rank(
            row=row,
            mean=float(means[i]),
            interval=Interval(float(low[i]), float(high[i])) if most > 1 else None,
            by_variant={v: float(column[i]) for v, column in zip(variants, ranks, strict=True)},
        )
        for i, row in enumerate(ranked)
    ]
    return Ranks(
        listed=tuple(sorted(listed, key=lambda rank: rank.mean)),
        variants=tuple(variants),
        seeds=most,
        left_out=tuple(row for row in labels if row not in ranked),
    )


def _has_result(summary: Summary | None) -> bool:
    return summary is not None and summary.n + summary.diverged > 0


def _by_seed(summaries: Sequence[Summary]) -> Floats:
    """(R, S): value of each row for each seed that any row finished, else NaN."""
    seeds = sorted({seed for summary in summaries for seed in summary.seeds}) or [0]
    return np.array([[s.by_seed.get(seed, np.nan) for seed in seeds] for s in summaries])


def _ranks(values: Floats) -> Floats:
    """(..., R, S) -> (..., R): ranks of the means over the finished seeds; no seed is the worst."""
    there = ~np.isnan(values)
    count = there.sum(-1)
    total = np.where(there, values, 0.0).sum(-1)
    means = np.divide(total, count, out=np.full(total.shape, np.inf), where=count > 0)
    # sums in another order differ in their last bits, and equal means should tie
    largest = np.abs(means[np.isfinite(means)]).max(initial=0) or 1
    means = np.round(means / largest, 11)
    own, others = means[..., :, None], means[..., None, :]
    return np.asarray(0.5 + (others < own).sum(-1) + 0.5 * (others == own).sum(-1))
