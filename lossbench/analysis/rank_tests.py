"""Tests of whether losses rank differently across columns: Friedman's and the signed-rank test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import fdtrc

from lossbench.analysis.statistics import ALPHA

Floats = NDArray[np.float64]


def average_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """(..., R) -> (..., R): ranks from 1 for the smallest; equal values share their average rank.

    `scipy.stats.rankdata` computes the same, but `scipy.stats` takes half a second to import.
    """
    array = np.asarray(values, dtype=float)
    own, others = array[..., :, None], array[..., None, :]
    return np.asarray(0.5 + (others < own).sum(-1) + 0.5 * (others == own).sum(-1))


def friedman_p(scores: Floats) -> float | None:
    """p of Friedman's test that all rows rank alike, by Iman and Davenport's F.

    scipy has only the chi-square approximation, which is too conservative (Demsar).

    Args:
        scores: (C, R), lower is better; infinite for a row without a value.

    Returns:
        None below two columns, or if all scores of each column are equal.

    Reference:
        Demsar, JMLR 2006, Section 3.2.2, with the correction for ties of Conover.
    """
    columns, rows = scores.shape
    if columns < 2 or rows < 2:
        return None
    ranks = average_ranks(scores)  # (C, R)
    spread = float(((ranks - (rows + 1) / 2) ** 2).sum())
    if spread == 0:
        return None
    between = columns * float(((ranks.mean(0) - (rows + 1) / 2) ** 2).sum())
    rest = spread - between
    if rest <= 1e-12 * spread:  # every column has the same order, whose chance is known
        return float(min(1.0, math.factorial(rows) ** (1.0 - columns)))
    f = (columns - 1) * between / rest
    return float(fdtrc(rows - 1, (rows - 1) * (columns - 1), f))


def signed_rank_p(differences: Sequence[float]) -> float:
    """Exact two-sided p of Wilcoxon's signed-rank test; differences of 0 are left out.

    The distribution over all signs is counted with the ranks of these differences, so the p is
    exact with ties, too; `scipy.stats.wilcoxon` ignores ties in its exact distribution. Infinite
    differences are the largest.
    """
    there = [d for d in differences if d != 0]
    if not there:
        return 1.0
    doubled = [round(2 * rank) for rank in average_ranks(np.abs(there))]  # ties have halves
    total = sum(doubled)
    ways = np.zeros(total + 1)  # share of all signs that give each sum of positive ranks
    ways[0] = 1.0
    for rank in doubled:
        moved = np.zeros_like(ways)
        moved[rank:] = ways[: total + 1 - rank]
        ways = (ways + moved) / 2
    positive = sum(rank for rank, d in zip(doubled, there, strict=True) if d > 0)
    smaller = min(positive, total - positive)
    return float(min(1.0, 2 * ways[: smaller + 1].sum()))


def columns_to_decide(rows: int) -> int:
    """Smallest number of columns in which any pair of so many rows can differ significantly.

    n columns have a smallest p of 2 / 2^n, which Holm's correction multiplies by the number of
    pairs.
    """
    pairs = rows * (rows - 1) // 2
    return math.ceil(1 + math.log2(pairs / ALPHA))


def indistinguishable_groups(
    means: Sequence[float], significant: set[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Longest groups of neighbouring rows, by rank, of which no two differ significantly.

    Args:
        means: Average ranks, ascending.
        significant: Pairs (i, j), i < j, that differ significantly.

    Returns:
        (first, last) of each group of at least two rows, none inside another.
    """
    groups: list[tuple[int, int]] = []
    for first in range(len(means)):
        last = first
        while last + 1 < len(means) and all(
            pair not in significant for pair in combinations(range(first, last + 2), 2)
        ):
            last += 1
        if last > first and not (groups and groups[-1][1] >= last):
            groups.append((first, last))
    return groups
