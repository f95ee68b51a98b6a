"""Levels of repeated looks, against published tables and against simulated processes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from lossbench.analysis.error_spending import (
    EXPONENT,
    nominal_level,
    nominal_levels,
    overall_p,
)


def obrien_fleming(level: np.ndarray, share: float) -> np.ndarray:
    return np.asarray(4 * ndtr(ndtri(level / 4) / math.sqrt(share)))


def pocock(level: np.ndarray, share: float) -> np.ndarray:
    return level * math.log(1 + (math.e - 1) * share)


@pytest.mark.parametrize(
    ("spending", "bounds"),
    [
        # two-sided 0.05, five equally spaced looks; the R package ldbounds prints the same
        (obrien_fleming, [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]),
        (pocock, [2.4380, 2.4268, 2.4101, 2.3966, 2.3859]),
    ],
)
def test_boundaries_are_those_of_published_tables(spending: object, bounds: list[float]) -> None:
    for k, bound in enumerate(bounds, 1):
        shares = tuple(i / 5 for i in range(1, k + 1))
        [found] = nominal_levels(np.array([0.05]), shares, spending)  # type: ignore[arg-type]
        assert -ndtri(found / 2) == pytest.approx(bound, abs=5e-4)


@pytest.mark.parametrize(
    "bounds",
    [
        [2.413] * 5,  # Pocock, nominal level 0.0158
        [2.040 * math.sqrt(5 / k) for k in range(1, 6)],  # O'Brien and Fleming, 4.562 first
    ],
)
def test_classic_boundaries_err_with_the_published_probability(bounds: list[float]) -> None:
    spent: dict[float, float] = {}
    for k, bound in enumerate(bounds, 1):
        shares = tuple(i / 5 for i in range(1, k + 1))
        before = max(spent.values(), default=0.0)

        def excess(more: float, before: float = before, bound: float = bound) -> float:
            table = spent | {shares[-1]: before + more}  # noqa: B023
            [found] = nominal_levels(np.ones(1), shares, lambda _, s: np.array([table[s]]))  # noqa: B023
            return float(-ndtri(found / 2)) - bound

        spent[shares[-1]] = before + brentq(excess, 1e-9, 0.05)
    assert spent[1.0] == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize(
    ("looks", "max_seeds"),
    [
        (range(3, 21), 20),
        ([3, 4, 9, 20], 20),
        ([2, 5], 12),
        ([20], 20),
        (range(5, 60, 7), 60),
        ([998, 999, 1000], 1000),
    ],
)
@pytest.mark.parametrize("level", [0.05, 0.05 / 14, 0.3])
def test_all_looks_together_err_as_the_spending_function_says(
    looks: list[int], max_seeds: int, level: float
) -> None:
    """Against 200,000 simulated sums of normal differences."""
    looks, rng, count = list(looks), np.random.default_rng(1), 200_000
    sums, crossed, before = np.zeros(count), np.zeros(count, bool), 0
    for k, n in enumerate(looks):
        sums += rng.normal(0, math.sqrt(n - before), count)
        p = 2 * ndtr(-np.abs(sums) / math.sqrt(n))
        crossed |= p <= nominal_level(level, looks[: k + 1], max_seeds)
        expected = level * (n / max_seeds) ** EXPONENT
        assert crossed.mean() == pytest.approx(expected, abs=4 * math.sqrt(expected / count))
        before = n


@pytest.mark.parametrize("looks", [[3], [3, 4, 5], [3, 7, 20], list(range(3, 21))])
def test_the_overall_p_is_the_smallest_significant_level(looks: list[int]) -> None:
    levels = [1e-30, 1e-12, 0.05 / 84 / 20, 0.05 / 14, 0.0321, 0.05, 0.5, 0.97]
    nominal = [nominal_level(level, looks, 20) for level in levels]
    assert nominal == sorted(nominal)
    for level, found in zip(levels, nominal, strict=True):
        assert overall_p(found, looks, 20) == pytest.approx(level, rel=1e-12)
        assert found < level
    assert overall_p(1.0, looks, 20) == pytest.approx(1.0)
    assert 0 < overall_p(1e-300, looks, 20) < 1e-290


def test_one_look_at_all_seeds_needs_no_correction() -> None:
    assert nominal_level(0.05, [7], 7) == pytest.approx(0.05)
    assert overall_p(0.013, [7], 7) == pytest.approx(0.013)


def test_interpolated_levels_are_those_of_the_integration() -> None:
    levels = np.array([1e-6, 0.05 / 84, 0.05 / 14, 0.013, 0.05, 0.2, 0.5])
    looks = list(range(3, 21))
    exact = nominal_levels(levels, tuple(n / 20 for n in looks))
    assert [nominal_level(level, looks, 20) for level in levels] == pytest.approx(exact, rel=5e-4)


@pytest.mark.parametrize("looks", [[], [3, 3], [4, 3], [0, 1], [3, 21]])
def test_looks_have_to_ascend_to_the_limit(looks: list[int]) -> None:
    with pytest.raises(ValueError, match="20 seeds"):
        nominal_level(0.05, looks, 20)
