"""The spread of many small cells, against numpy, scipy and the model that it assumes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lossbench.analysis.variance_pooling import (
    SampleVariance,
    Spread,
    moderate,
    pool_spreads,
    pool_variances,
    sample_variance,
)
from tests.analysis import slow_pooling


def test_sample_variance_is_pooled_over_groups() -> None:
    a, b = [1.0, 2.0, 4.0], [10.0, 10.5]
    expected = (2 * np.var(a, ddof=1) + 1 * np.var(b, ddof=1)) / 3
    assert sample_variance(a, b, [7.0], []).value == pytest.approx(expected)
    assert sample_variance(a, b, [7.0], []).df == 3
    assert sample_variance([7.0], [8.0]) == SampleVariance(0.0, 0)


def test_half_width_is_that_of_students_t_test() -> None:
    a, b = [1.0, 2.0, 4.0], [3.0, 3.5, 6.0, 4.0]
    variance = sample_variance(a, b)
    spread = Spread(math.sqrt(variance.value), variance.df)
    expected = stats.ttest_ind(a, b).confidence_interval(0.99)
    half = spread.half_width(1 / len(a) + 1 / len(b), alpha=0.01)
    assert half == pytest.approx((expected.high - expected.low) / 2)


def table(rng: np.random.Generator, columns: int, rows: int, spread: float) -> tuple[Any, Any]:
    """Variances and degrees of freedom of a made-up table, whose rows' spreads differ."""
    sd = spread ** rng.normal(size=(1, rows)) * 2 ** rng.normal(size=(columns, 1))
    df = rng.choice([2.0, 3.0, 4.5], (1, rows)) * np.ones((columns, 1))
    return sd**2 * rng.chisquare(df) / df, df


@pytest.mark.parametrize("spread", [1.0, 1.5, 3.0])
@pytest.mark.parametrize(("columns", "rows"), [(1, 2), (1, 7), (2, 3), (3, 2), (2, 8), (6, 5)])
def test_the_pooled_variances_are_those_of_the_loops(
    columns: int, rows: int, spread: float
) -> None:
    rng = np.random.default_rng(columns * 100 + rows)
    flagged = 0
    for _ in range(20):
        variances, df = table(rng, columns, rows, spread)
        caps = np.array([4.0, *[np.inf] * (rows - 1)])
        found = pool_variances(variances, df, caps)
        values, freedom = slow_pooling.pool(variances, df, caps)
        assert found.values == pytest.approx(values, rel=1e-6)
        assert found.df == pytest.approx(freedom, rel=1e-4)
        flagged += int(found.out_of_line.any())
    if rows > 2 and spread == 3.0:
        assert flagged > 0


def test_equally_spread_cells_are_pooled() -> None:
    variances = np.array([[4.0, 4.4, 3.6, 3.9]])
    found = pool_variances(variances, np.full((1, 4), 2.0))
    pooled = variances.mean()
    assert found.values == pytest.approx(np.maximum(variances, pooled))
    assert found.column_df == pytest.approx([8])


def test_cells_of_unequal_spread_follow_the_model_that_made_them() -> None:
    """Variances s0^2 d0 / chi^2(d0): their posterior mean has a closed form."""
    rng = np.random.default_rng(0)
    prior, prior_df, df = 2.0, 6.0, 4.0
    true = prior * prior_df / rng.chisquare(prior_df, 4000)
    variances = true * rng.chisquare(df, 4000) / df
    found = moderate(variances, np.full(4000, df), np.full(4000, np.inf))
    assert found.df == pytest.approx(np.full(4000, prior_df + df), rel=0.1)
    expected = (prior_df * prior + df * variances) / (prior_df + df)
    assert found.values == pytest.approx(expected, rel=0.05)


def test_one_cell_has_its_own_spread_only() -> None:
    assert pool_spreads({("v", "a"): SampleVariance(9.0, 2)}) == {("v", "a"): Spread(3.0, 2)}
    for empty in (SampleVariance(0.0, 2), SampleVariance(0.0, 0)):  # equal by luck says nothing
        assert pool_spreads({("v", "a"): empty}) == {("v", "a"): None}


def test_cells_that_show_no_spread_take_the_common_one() -> None:
    cells = {("v", f"{i}"): SampleVariance(1.0 + i / 100, 2) for i in range(6)}
    cells |= {("v", "lucky"): SampleVariance(0.0, 2), ("v", "single"): SampleVariance(0.0, 0)}
    found = pool_spreads(cells)
    lucky, single = found["v", "lucky"], found["v", "single"]
    assert lucky is not None
    assert single is not None
    assert lucky.sd == pytest.approx(single.sd) == pytest.approx(math.sqrt(1.025))


def test_a_wild_row_is_out_of_line_and_keeps_its_own_spread() -> None:
    variances = np.array([[0.1] * 7 + [10.0], [0.1] * 7 + [10.0]])
    found = pool_variances(variances, np.full((2, 8), 2.0))
    assert found.out_of_line.tolist() == [False] * 7 + [True]
    assert found.values[:, 7] == pytest.approx([10.0, 10.0])
    assert found.df[:, 7] == pytest.approx([4, 4])
    assert (found.values[:, :7] < 0.3).all()
    assert math.sqrt(found.ratios[7]) == pytest.approx(10)


def test_a_row_of_another_column_lends_its_spread() -> None:
    """A row that is noisy in one column is expected to be noisy in the others."""
    variances = np.array([[1.0, 1.2, 0.9, 1.1, 9.0], [1.0, 1.1, 1.3, 0.8, 0.5]])
    found = pool_variances(variances, np.full((2, 5), 2.0))
    alone = pool_variances(variances[1:], np.full((1, 5), 2.0))
    assert found.values[1, 4] > 2 * alone.values[0, 4]


def test_a_capped_prior_counts_only_so_much() -> None:
    variances, df = np.array([[1.0, 1.01, 1.02, 1.03]]), np.full((1, 4), 2.0)
    found = pool_variances(variances, df, np.array([4.0, np.inf, np.inf, np.inf]))
    assert found.df[0, 0] == pytest.approx(6)
    assert found.df[0, 1] > 1000
