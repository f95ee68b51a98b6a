"""Statistics against numpy, scipy and slow loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from lossbench.analysis.statistics import (
    MatchedDifference,
    Summary,
    holm,
    matched_difference,
    smallest_exact_p,
)

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


def test_equal_values_have_no_interval() -> None:
    assert Summary((0.1,) * 3).interval is None


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


def test_the_difference_is_that_of_the_seeds_finished_in_both() -> None:
    a = Summary((1.0, 2.0, 4.0), seeds=(7, 1, 3))
    b = Summary((0.5, 1.25), seeds=(3, 7))
    gap = matched_difference(a, b)
    assert (gap.seeds, gap.values) == ((7, 3), (-0.25, 3.5))


def test_the_difference_matches_scipys_paired_test() -> None:
    a, b = VALUES[:3], OTHERS
    gap = matched_difference(Summary(a, seeds=(0, 1, 2)), Summary(b, seeds=(0, 1, 2)))
    expected = stats.ttest_rel(a, b)
    interval = expected.confidence_interval(0.95)
    assert gap.p == pytest.approx(expected.pvalue, rel=1e-10)
    assert gap.interval is not None
    assert (gap.interval.low, gap.interval.high) == pytest.approx(
        (interval.low, interval.high), rel=1e-10
    )


@pytest.mark.parametrize("step", [0.0, 0.1, 100 / 360])
def test_equal_differences_have_no_spread_but_rounding(step: float) -> None:
    base = (0.3, 1.7, 100 / 3)
    gap = matched_difference(
        Summary(tuple(x + step for x in base), seeds=(0, 1, 2)), Summary(base, seeds=(0, 1, 2))
    )
    assert (gap.std, gap.p, gap.interval) == (0, None, None)
    assert gap.mean == pytest.approx(step, abs=1e-12)


@pytest.mark.parametrize("values", [(), (0.5,)])
def test_a_difference_of_fewer_than_two_seeds_has_no_test(values: tuple[float, ...]) -> None:
    gap = MatchedDifference(tuple(range(len(values))), values)
    assert (gap.std, gap.p, gap.interval) == (None, None, None)


def test_holm_matches_the_step_down_procedure() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 9):
        p = rng.uniform(0, 0.1, size).tolist()
        adjusted = holm(p)
        for alpha in (0.01, 0.05, 0.2):
            rejected = set()
            for rank, index in enumerate(np.argsort(p)):  # step down until the first that fails
                if p[index] > alpha / (size - rank):
                    break
                rejected.add(int(index))
            assert {i for i, value in enumerate(adjusted) if value <= alpha} == rejected
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize("n", [2, 3, 4])
def test_smallest_exact_p_is_that_of_all_rearrangements(n: int) -> None:
    gaps = np.arange(1.0, n + 1)
    flipped = [abs(np.dot(s, gaps)) for s in itertools.product((-1, 1), repeat=n)]
    pooled = [*gaps, *(gaps + 100)]
    moved = [
        abs(sum(pooled[i] for i in chosen) - sum(pooled) / 2)
        for chosen in itertools.combinations(range(2 * n), n)
    ]
    expected = [np.mean([x >= max(v) - 1e-9 for x in v]) for v in (flipped, moved)]
    assert smallest_exact_p(n) == pytest.approx(tuple(expected))
