"""Uncertainty from the test set, against slow loops and simulations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lossbench.analysis.predictions import (
    PredictionAnalysis,
    analyze_predictions,
    image_intervals,
    mcnemar,
    seed_spread,
)
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from tests.analysis.stored_predictions import BODY, IMAGES, RATES, predictions


def analyze(plan: Plan, results: Any) -> PredictionAnalysis:
    [stage] = PlanWithResults(plan, results).stages
    found = analyze_predictions(stage, plan.suite.reference, predictions(plan))
    assert found is not None
    return found


def test_every_cell_is_compared_with_the_reference(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan(BODY)
    found = analyze(plan, run_all(plan))
    assert (found.images, [e.row for e in found.listed]) == (IMAGES, list(RATES))
    softmax, center, lgm = found.listed
    assert (softmax.difference, softmax.mcnemar) == (None, ())
    read = predictions(plan)
    wrong = {}
    for trial in plan.trials:
        arrays = read(trial.identity, "predictions")
        assert arrays is not None
        wrong[trial.row, trial.seed] = arrays["predicted"] != arrays["labels"]
    for entry in found.listed:
        means = [wrong[entry.row, seed].mean() for seed in range(3)]
        assert entry.error == pytest.approx(100 * np.mean(means))
    assert lgm.difference == pytest.approx(lgm.error - softmax.error)
    assert lgm.difference_interval is not None
    assert lgm.difference_interval.high < 0
    assert [test.p < 0.05 for test in lgm.mcnemar] == [True] * 3
    assert all(test.row_wrong < test.reference_wrong for test in lgm.mcnemar)
    assert [test.p < 0.05 for test in center.mcnemar] == [False] * 3


def test_diverged_and_missing_seeds_are_left_out(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(BODY)
    results = fill(
        plan,
        {
            "default/softmax": [1, math.nan, 1],
            "default/center": [1, 1, None],
            "default/lgm": [math.nan] * 3,
        },
    )
    softmax, center = analyze(plan, results).listed
    assert (softmax.seeds, center.seeds) == (2, 2)
    assert [test.seed for test in center.mcnemar] == [0]


def test_without_predictions_there_is_no_analysis(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan(BODY)
    [stage] = PlanWithResults(plan, run_all(plan)).stages
    assert analyze_predictions(stage, "softmax", lambda identity, name: None) is None


@pytest.mark.parametrize(("only_row", "only_reference"), [(0, 0), (1, 8), (8, 1), (3, 3)])
def test_mcnemar_is_the_sign_test_of_the_discordant(only_row: int, only_reference: int) -> None:
    row = np.array([True] * (5 + only_row) + [False] * (only_reference + 20))
    reference = np.array([True] * 5 + [False] * only_row + [True] * only_reference + [False] * 20)
    found = mcnemar(0, row, reference)
    assert (found.row_wrong, found.reference_wrong) == (only_row, only_reference)
    n, k = only_row + only_reference, min(only_row, only_reference)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert found.p == pytest.approx(min(1, 2 * tail))


def test_intervals_over_images_match_the_normal_ones() -> None:
    rng = np.random.default_rng(0)
    columns = rng.uniform(size=(900, 3)) ** 2
    columns[:, 2] = columns[:, 0] - columns[:, 1]
    for column, interval in zip(columns.T, image_intervals(columns), strict=True):
        assert interval is not None
        half = 1.96 * column.std() / math.sqrt(900)
        expected = (100 * (column.mean() - half), 100 * (column.mean() + half))
        assert (interval.low, interval.high) == pytest.approx(expected, abs=25 * half)


def test_all_columns_see_the_same_resamples() -> None:
    column = np.random.default_rng(0).uniform(size=200)
    [one, other, none] = image_intervals(np.stack([column, column + 1, 0 * column], 1))
    assert one is not None
    assert other is not None
    assert other.low - one.low == pytest.approx(100)
    assert none is None  # nobody errs: resampling would claim certainty


def test_the_test_sets_part_matches_a_slow_reference() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.uniform(size=(3, 50)) < 0.3
    found = seed_spread(wrong)
    assert found is not None
    rest = sum(
        (wrong[s, i] - wrong[s].mean() - wrong[:, i].mean() + wrong.mean()) ** 2
        for s in range(3)
        for i in range(50)
    ) / (2 * 49)
    assert found.std == pytest.approx(100 * np.std(wrong.mean(1), ddof=1))
    assert found.test_set == pytest.approx(100 * math.sqrt(rest / 50))
    assert found.share == pytest.approx(min(1, rest / 50 / wrong.mean(1).var(ddof=1)))


@pytest.mark.parametrize("quality", [0.0, 0.04])
def test_the_test_sets_part_is_found_in_simulated_trainings(quality: float) -> None:
    """Trainings whose quality differs by a known spread, on images of different hardness."""
    rng = np.random.default_rng(2)
    images, seeds = 500, 4000
    hardness = rng.beta(1, 4, images)  # (N,)
    shift = rng.normal(0, quality, (seeds, 1))  # (S, 1)
    rates = np.clip(hardness + shift * hardness, 0, 1)  # (S, N)
    found = seed_spread(rng.uniform(size=(seeds, images)) < rates)
    assert found is not None
    trainings = np.var(shift * hardness.mean())  # what endless images of this kind would show
    binomial = np.mean(rates * (1 - rates)) / images
    assert (found.test_set / 100) ** 2 == pytest.approx(binomial, rel=0.03)
    assert (found.std / 100) ** 2 == pytest.approx(binomial + trainings, rel=0.08)


def test_the_interval_of_the_share_covers_it() -> None:
    rng = np.random.default_rng(4)
    images, covered = 2000, 0
    true = 0.1 * 0.9 / images / (0.1 * 0.9 / images + 0.006**2)
    for _ in range(300):
        rates = 0.1 + rng.normal(0, 0.006, (3, 1))
        found = seed_spread(rng.uniform(size=(3, images)) < rates)
        assert found is not None
        covered += found.interval.low <= true <= found.interval.high
    assert covered >= stats.binom.ppf(0.001, 300, 0.95)


@pytest.mark.parametrize("wrong", [[[True, False]], [[True, False], [False, True]]])
def test_without_spread_there_is_no_share(wrong: list[list[bool]]) -> None:
    assert seed_spread(np.array(wrong)) is None
