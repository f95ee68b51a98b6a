from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from lossbench.evaluation.detection import (
    STORED_POINTS,
    binary_auroc,
    binary_eer,
    binary_roc,
    fpr_at_tpr,
    subsample_roc,
)


def test_auroc_and_fpr_agree_with_loops_and_scikit_learn() -> None:
    random = np.random.default_rng(0)
    positive = random.normal(1, 1, 300).round(1)  # with ties
    negative = random.normal(0, 1, 200).round(1)
    curve = binary_roc(positive, negative)
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert binary_auroc(*curve) == pytest.approx(100 * np.mean(pairs))
    truth = [1] * 300 + [0] * 200
    scores = [*positive, *negative]
    assert binary_auroc(*curve) == pytest.approx(100 * roc_auc_score(truth, scores))
    thresholds = [t for t in np.unique(scores) if np.mean(positive >= t) >= 0.95]
    expected = 100 * np.mean(negative >= max(thresholds))
    assert fpr_at_tpr(*curve, 0.95) == pytest.approx(expected)


def test_equal_error_rate_of_two_gaussians() -> None:
    random = np.random.default_rng(1)
    curve = binary_roc(random.normal(2, 1, 200_000), random.normal(0, 1, 200_000))
    assert binary_eer(*curve) == pytest.approx(100 * norm.cdf(-1), abs=0.2)
    assert binary_auroc(*curve) == pytest.approx(100 * norm.cdf(2 / np.sqrt(2)), abs=0.2)


@pytest.mark.parametrize(
    ("positive", "negative", "eer", "auroc"),
    [
        ([2.0, 3.0], [0.0, 1.0], 0, 100),
        ([0.0, 1.0], [2.0, 3.0], 100, 0),
        ([1.0, 1.0], [1.0, 1.0, 1.0], 50, 50),
        ([1.0, 3.0], [0.0, 2.0], 50, 75),
        ([1.0, 2.0, 3.0, 4.0], [0.0, 0.5, 1.5, 0.7], 25, 93.75),
        ([-np.inf, 0.0], [-np.inf, -np.inf], 100 / 3, 75),  # on the line from (0, 1/2) to (1, 1)
    ],
)
def test_small_cases_by_hand(
    positive: list[float], negative: list[float], eer: float, auroc: float
) -> None:
    curve = binary_roc(np.array(positive), np.array(negative))
    assert binary_auroc(*curve) == pytest.approx(auroc)
    assert binary_eer(*curve) == pytest.approx(eer)


def test_roc_keeps_the_points_on_a_straight_line() -> None:
    scores = np.random.default_rng(4).permutation(1000).astype(float)
    assert fpr_at_tpr(*binary_roc(scores, scores), 0.95) == pytest.approx(95)


def test_metrics_depend_on_the_order_of_the_scores_only() -> None:
    random = np.random.default_rng(2)
    positive, negative = random.normal(1, 1, 50), random.normal(0, 1, 70)
    plain = binary_roc(positive, negative)
    stretched = binary_roc(np.exp(9 * positive), np.exp(9 * negative))
    assert binary_eer(*plain) == binary_eer(*stretched)
    assert binary_auroc(*plain) == binary_auroc(*stretched)


def test_subsampled_roc_keeps_its_ends() -> None:
    random = np.random.default_rng(3)
    fpr, tpr = subsample_roc(*binary_roc(random.normal(0, 1, 5000), random.normal(0, 1, 5000)))
    assert len(fpr) == len(tpr) == STORED_POINTS
    assert (fpr[0], tpr[0]) == (0, 0)
    assert (fpr[-1], tpr[-1]) == (1, 1)


@pytest.mark.parametrize(("positive", "negative"), [([], [1.0]), ([1.0], []), ([np.nan], [1.0])])
def test_missing_scores_and_nan_are_refused(positive: list[float], negative: list[float]) -> None:
    with pytest.raises(ValueError, match="score"):
        binary_roc(np.array(positive), np.array(negative))
