"""The spread of many small cells, against numpy, scipy and the model that it assumes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lossbench.analysis.variance_pooling import SampleVariance, Spread, moderated, sample_variance


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


def test_equally_spread_cells_are_pooled() -> None:
    cells = [SampleVariance(4.0, 2), SampleVariance(4.4, 2), SampleVariance(3.6, 4)]
    pooled = (2 * 4.0 + 2 * 4.4 + 4 * 3.6) / 8
    for cell, spread in zip(cells, moderated(cells), strict=True):
        assert spread is not None
        assert spread.df == 8
        assert spread.sd == pytest.approx(math.sqrt(max(pooled, cell.value)))


def test_cells_of_unequal_spread_follow_the_model_that_made_them() -> None:
    """Variances s0^2 d0 / chi^2(d0): their posterior mean has a closed form."""
    rng = np.random.default_rng(0)
    prior, prior_df, df = 2.0, 6.0, 4
    true = prior * prior_df / rng.chisquare(prior_df, 4000)
    cells = [SampleVariance(float(v), df) for v in true * rng.chisquare(df, 4000) / df]
    for cell, spread in zip(cells, moderated(cells), strict=True):
        assert spread is not None
        assert spread.df == pytest.approx(prior_df + df, rel=0.1)
        expected = (prior_df * prior + df * cell.value) / (prior_df + df)
        assert spread.sd == pytest.approx(math.sqrt(max(expected, cell.value)), rel=0.05)


def test_one_cell_has_its_own_spread_only() -> None:
    assert moderated([SampleVariance(9.0, 2)]) == [Spread(3.0, 2)]
    assert moderated([SampleVariance(0.0, 2)]) == [None]  # equal by luck says nothing
    assert moderated([SampleVariance(0.0, 0)]) == [None]


def test_cells_that_show_no_spread_take_the_common_one() -> None:
    cells = [SampleVariance(0.0, 2), SampleVariance(1.0, 2), SampleVariance(1.1, 2)]
    single = SampleVariance(0.0, 0)
    lucky, *_, alone = moderated([*cells, single])
    assert lucky is not None
    assert alone is not None
    assert 0 < lucky.sd <= alone.sd == pytest.approx(math.sqrt(1.05))


def test_a_wild_cell_keeps_at_least_its_own_spread() -> None:
    cells = [SampleVariance(0.1, 2)] * 7 + [SampleVariance(10.0, 2)]
    *steady, wild = moderated(cells)
    assert wild is not None
    assert wild.sd == pytest.approx(math.sqrt(10.0))
    assert all(s is not None and s.sd < 1 for s in steady)


def test_cells_of_two_seeds_lean_on_the_common_spread_only_so_far() -> None:
    cells = [SampleVariance(1.0 + 0.01 * i, 1) for i in range(20)]
    pooled = sum(cell.value for cell in cells) / 20
    for cell, spread in zip(cells, moderated(cells), strict=True):
        assert spread is not None
        assert spread.df == 7
        expected = (6 * pooled + cell.value) / 7
        assert spread.sd == pytest.approx(math.sqrt(max(expected, cell.value)))
