from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from lossbench.evaluation.detection import STORED_POINTS, detect


def test_auroc_and_fpr_against_loops_and_scikit_learn() -> None:
    random = np.random.default_rng(0)
    normal = random.normal(1, 1, 300).round(1)  # with ties
    other = random.normal(0, 1, 200).round(1)
    found = detect(normal, other)
    pairs = [(n > o) + 0.5 * (n == o) for n in normal for o in other]
    assert found.auroc == pytest.approx(100 * np.mean(pairs))
    truth = [1] * 300 + [0] * 200
    assert found.auroc == pytest.approx(100 * roc_auc_score(truth, [*normal, *other]))
    thresholds = [t for t in np.unique([*normal, *other]) if np.mean(normal >= t) >= 0.95]
    assert found.fpr_at(0.95) == pytest.approx(100 * np.mean(other >= max(thresholds)))


def test_the_equal_error_rate_of_two_gaussians() -> None:
    random = np.random.default_rng(1)
    found = detect(random.normal(2, 1, 200_000), random.normal(0, 1, 200_000))
    assert found.eer == pytest.approx(100 * norm.cdf(-1), abs=0.2)
    assert found.auroc == pytest.approx(100 * norm.cdf(2 / np.sqrt(2)), abs=0.2)


@pytest.mark.parametrize(
    ("normal", "other", "eer", "auroc"),
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
    normal: list[float], other: list[float], eer: float, auroc: float
) -> None:
    found = detect(np.array(normal), np.array(other))
    assert found.auroc == pytest.approx(auroc)
    assert found.eer == pytest.approx(eer)


def test_no_point_of_a_straight_line_is_jumped_over() -> None:
    scores = np.random.default_rng(4).permutation(1000).astype(float)
    assert detect(scores, scores).fpr_at(0.95) == pytest.approx(95)


def test_order_is_all_that_counts() -> None:
    random = np.random.default_rng(2)
    normal, other = random.normal(1, 1, 50), random.normal(0, 1, 70)
    plain, stretched = detect(normal, other), detect(np.exp(9 * normal), np.exp(9 * other))
    assert (plain.eer, plain.auroc) == (stretched.eer, stretched.auroc)


def test_a_curve_for_drawing_keeps_its_ends() -> None:
    random = np.random.default_rng(3)
    false_accept, true_accept = detect(
        random.normal(0, 1, 5000), random.normal(0, 1, 5000)
    ).thinned()
    assert len(false_accept) == len(true_accept) == STORED_POINTS
    assert (false_accept[0], true_accept[0]) == (0, 0)
    assert (false_accept[-1], true_accept[-1]) == (1, 1)


@pytest.mark.parametrize(("normal", "other"), [([], [1.0]), ([1.0], []), ([np.nan], [1.0])])
def test_nothing_to_compare(normal: list[float], other: list[float]) -> None:
    with pytest.raises(ValueError, match="score"):
        detect(np.array(normal), np.array(other))
