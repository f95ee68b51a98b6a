"""The spread of many small cells, against numpy, scipy and the model that it assumes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lossbench.analysis.variance_pooling import SampleVariance, Spread, sample_variance


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
