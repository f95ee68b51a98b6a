"""The spread of cells without the effect of the seed, against least squares and the paired test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lossbench.analysis.row_spread import estimate_spreads, residual_squares
from lossbench.analysis.statistics import Summary
from tests.analysis import slow_pooling


@pytest.mark.parametrize("gaps", [0, 1, 4])
@pytest.mark.parametrize("shape", [(2, 2), (3, 5), (8, 3), (6, 10)])
def test_residuals_are_those_of_least_squares(shape: tuple[int, int], gaps: int) -> None:
    rng = np.random.default_rng(gaps)
    values = rng.normal(50, 1, shape)
    for _ in range(gaps if values.size > 9 else 0):
        values[tuple(rng.integers(shape))] = np.nan
    squares, df = residual_squares(values)
    expected, freedom = slow_pooling.least_squares(values)
    assert squares == pytest.approx(expected, abs=1e-9)
    assert df == pytest.approx(freedom, abs=1e-9)


@pytest.mark.parametrize(
    "numbers",
    [[7, 6, 5, 7, 7, 7, 7, 7], [8, 8, 5, 8, 5, 7, 8, 8], [12, 3, 12, 12, 12, 12, 7, 9]],
)
def test_residuals_of_rows_that_stopped_early_are_those_of_least_squares(
    numbers: list[int],
) -> None:
    """The normal equations are singular; with these numbers of seeds rounding hides it."""
    values = np.random.default_rng(0).normal(50, 1, (8, max(numbers)))
    for row, n in enumerate(numbers):
        values[row, n:] = np.nan
    squares, df = residual_squares(values)
    expected, freedom = slow_pooling.least_squares(values)
    assert squares == pytest.approx(expected, rel=1e-6)
    assert df == pytest.approx(freedom, rel=1e-6)


def test_a_full_table_has_the_known_degrees_of_freedom() -> None:
    _, df = residual_squares(np.random.default_rng(0).normal(size=(8, 3)))
    assert df == pytest.approx(np.full(8, 2 * 7 / 8))


def test_a_row_with_one_seed_says_nothing() -> None:
    values = np.array([[1.0, 2.0, 4.0], [1.5, 2.0, 4.6], [math.nan, 3.0, math.nan]])
    squares, df = residual_squares(values)
    assert (squares[2], df[2]) == (pytest.approx(0), 0)
    assert df[:2] == pytest.approx([1, 1])


def test_rounding_errors_are_no_spread() -> None:
    shifts = np.array([0.1, 0.2, 0.7])
    squares, _ = residual_squares(np.array([[5.0], [7.0], [6.1]]) + shifts)
    assert (squares == 0).all()


def cells_of(values: np.ndarray) -> dict[tuple[str, str], Summary]:
    """Cells (C, R, S) of a made-up table."""
    return {
        (f"c{c}", f"r{r}"): Summary(
            tuple(x for x in values[c, r] if math.isfinite(x)),
            seeds=tuple(s for s, x in enumerate(values[c, r]) if math.isfinite(x)),
        )
        for c, r in np.ndindex(values.shape[:2])
    }


@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_with_two_rows_it_is_the_paired_t_test(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    values = rng.normal(0, [[[1.0], [4.0]]], (1, 2, seeds))
    found = estimate_spreads(cells_of(values), {"c0": "r0"}).difference("c0", "r1", "r0")
    gaps = values[0, 1] - values[0, 0]
    assert found is not None
    assert found.sd == pytest.approx(gaps.std(ddof=1))
    assert found.df == pytest.approx(seeds - 1)
    t = gaps.mean() / (found.sd / math.sqrt(seeds))
    expected = stats.ttest_rel(values[0, 1], values[0, 0])
    assert 2 * stats.t.sf(abs(t), found.df) == pytest.approx(expected.pvalue)


def test_the_effect_of_the_seed_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 6, 4))
    shifted = values + 100 * rng.normal(size=(2, 1, 4))
    plain, other = (estimate_spreads(cells_of(v), {"c0": "r0"}) for v in (values, shifted))
    assert plain.pooled.values == pytest.approx(other.pooled.values)


def test_the_degrees_of_freedom_are_those_of_welch_and_satterthwaite() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0, np.linspace(1, 6, 6)[:, None], (1, 6, 5))
    spreads = estimate_spreads(cells_of(values), {"c0": "r0"})
    (a, b), (da, db) = spreads.pooled.values[0, [5, 0]], spreads.pooled.df[0, [5, 0]]
    found = spreads.difference("c0", "r5", "r0")
    assert found is not None
    assert found.sd == pytest.approx(math.sqrt(a + b))
    welch = (a + b) ** 2 / (a**2 / da + b**2 / db)
    assert found.df == pytest.approx(min(welch, 20 * 4.5 / 5))


def test_without_two_rows_or_two_seeds_nothing_is_known() -> None:
    single = np.random.default_rng(0).normal(size=(1, 3, 1))
    assert estimate_spreads(cells_of(single), {"c0": "r0"}).difference("c0", "r1", "r0") is None
    equal = np.ones((1, 3, 3))
    assert estimate_spreads(cells_of(equal), {"c0": "r0"}).difference("c0", "r1", "r0") is None
