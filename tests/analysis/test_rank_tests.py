"""Tests of ranks, against slow counting and scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, rankdata, wilcoxon

from lossbench.analysis.rank_tests import (
    average_ranks,
    columns_to_decide,
    friedman_p,
    indistinguishable_groups,
    signed_rank_p,
)


def slow_signed_rank(differences: list[float]) -> float:
    """All signs, one by one."""
    there = [d for d in differences if d]
    ranks = rankdata(np.abs(there))
    seen = sum(r for r, d in zip(ranks, there, strict=True) if d > 0)
    centre = ranks.sum() / 2
    sums = [
        sum(r for r, sign in zip(ranks, signs, strict=True) if sign)
        for signs in itertools.product([0, 1], repeat=len(there))
    ]
    return float(np.mean([abs(s - centre) >= abs(seen - centre) - 1e-9 for s in sums]))


@pytest.mark.parametrize("seed", range(8))
def test_signed_ranks_count_all_signs(seed: int) -> None:
    random = np.random.default_rng(seed)
    ties = [float(d) for d in random.integers(-3, 5, 9)]
    assert signed_rank_p(ties) == pytest.approx(slow_signed_rank(ties))
    distinct = random.normal(0.4, 1, 20)
    # without ties scipy's p is the same to the last digit; with ties its exact p is wrong
    assert signed_rank_p(list(distinct)) == wilcoxon(distinct, method="exact").pvalue


def test_signed_ranks_at_their_ends() -> None:
    assert signed_rank_p([0, 0, 0]) == signed_rank_p([]) == 1
    assert signed_rank_p([math.inf, 1, 2, 3, 4, 5]) == pytest.approx(2 / 2**6)
    assert signed_rank_p([1.0] * 100) == pytest.approx(2 / 2**100)


def test_friedman_is_a_function_of_scipys_chi_square() -> None:
    from scipy.stats import f

    scores = np.random.default_rng(0).integers(0, 6, (7, 4)).astype(float)  # with ties
    chi = friedmanchisquare(*scores.T).statistic
    expected = f.sf(6 * chi / (7 * 3 - chi), 3, 18)
    assert friedman_p(scores) == pytest.approx(expected)
    assert friedman_p(np.ones((5, 3))) is None
    assert friedman_p(np.ones((1, 3))) is None
    assert friedman_p(np.array([[1.0, 2], [3, 4], [5, 6]])) == pytest.approx(0.25)


@pytest.mark.parametrize(("rows", "expected"), [(2, 6), (3, 7), (6, 10)])
def test_columns_to_decide_is_the_smallest_number(rows: int, expected: int) -> None:
    pairs = rows * (rows - 1) / 2
    assert columns_to_decide(rows) == expected
    assert (
        signed_rank_p([1.0] * expected) * pairs
        <= 0.05
        < signed_rank_p([1.0] * (expected - 1)) * pairs
    )


def test_groups_are_the_longest_groups_without_a_difference() -> None:
    assert indistinguishable_groups([1, 2, 3, 4], {(0, 3)}) == [(0, 2), (1, 3)]
    assert indistinguishable_groups([1, 2, 3], set()) == [(0, 2)]
    assert indistinguishable_groups([1, 2, 3], {(0, 1), (0, 2), (1, 2)}) == []
    assert indistinguishable_groups([1, 2, 3], {(0, 1), (0, 2)}) == [(1, 2)]


def test_ranks_are_those_of_scipy() -> None:
    values = np.round(np.random.default_rng(0).normal(size=(20, 9)), 1)  # with ties
    values[0, :2] = np.inf
    assert np.array_equal(average_ranks(values), rankdata(values, axis=1))
