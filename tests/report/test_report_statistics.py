"""Statistics against numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lossbench.report.statistics import Summary, difference

VALUES = (1.17, 1.24, 1.09, 1.31, 1.2)
OTHERS = (1.4, 1.9, 1.5)


def test_mean_and_std_match_numpy() -> None:
    summary = Summary(VALUES)
    assert summary.mean == pytest.approx(np.mean(VALUES), rel=1e-14)
    assert summary.std == pytest.approx(np.std(VALUES, ddof=1), rel=1e-14)


@pytest.mark.parametrize("values", [VALUES, OTHERS, (0.4, 0.7)])
def test_interval_matches_scipy(values: tuple[float, ...]) -> None:
    interval = Summary(values).interval
    assert interval is not None
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-12)


def test_one_value_has_a_mean_and_no_spread() -> None:
    summary = Summary((2.5,))
    assert (summary.mean, summary.std, summary.interval, summary.n) == (2.5, None, None, 1)


def test_no_value_has_no_mean() -> None:
    summary = Summary((), diverged=3)
    assert (summary.mean, summary.std, summary.interval) == (None, None, None)


@pytest.mark.parametrize(
    ("summary", "planned", "complete"),
    [
        (Summary(VALUES), 5, True),
        (Summary(VALUES, diverged=1), 6, False),
        (Summary(VALUES, missing=2), 7, False),
        (Summary(()), 0, False),
    ],
)
def test_a_cell_is_complete_when_every_trial_finished(
    summary: Summary, planned: int, complete: bool
) -> None:
    assert (summary.planned, summary.complete) == (planned, complete)


def test_difference_matches_scipys_welch_interval() -> None:
    gap = difference(Summary(VALUES), Summary(OTHERS))
    assert gap is not None
    expected = stats.ttest_ind(VALUES, OTHERS, equal_var=False).confidence_interval(0.95)
    assert (gap.low, gap.high) == pytest.approx((expected.low, expected.high), rel=1e-10)


def test_values_without_spread_tell_nothing_about_it() -> None:
    assert difference(Summary((2.0, 2.0)), Summary((1.5, 1.5))) is None
    assert difference(Summary((2.0, 2.0)), Summary(VALUES)) is None


def test_difference_needs_two_values_each() -> None:
    assert difference(Summary((1.0,)), Summary(VALUES)) is None
