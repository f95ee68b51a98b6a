from __future__ import annotations

import itertools
import time
import warnings

import numpy as np
import pytest
from scipy.spatial.distance import cosine, mahalanobis
from sklearn.decomposition import PCA

from lossbench.evaluation.verification import (
    best_threshold,
    cosine_similarity,
    fit_whitening,
    mahalanobis_similarity,
    verification_accuracy,
)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def errors_at(threshold: float, scores: np.ndarray, same: np.ndarray) -> int:
    wrong = 0
    for score, is_same in zip(scores.tolist(), same.tolist(), strict=True):
        wrong += (score > threshold) != is_same
    return wrong


def slow_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """Counts the correct pairs at every threshold; the (higher) median of the best is chosen."""
    distinct = sorted(set(scores.tolist()))
    places = [-np.inf, *((a + b) / 2 for a, b in itertools.pairwise(distinct)), np.inf]
    wrong = [errors_at(place, scores, same) for place in places]
    best = [place for place, count in zip(places, wrong, strict=True) if count == min(wrong)]
    return best[len(best) // 2]


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("folds", [2, 3, 7])
def test_protocol_agrees_with_loops(random: np.random.Generator, folds: int, ties: bool) -> None:
    fold = np.repeat(np.arange(folds) * 3 + 1, 20)  # any numbers
    same = random.random(len(fold)) < 0.5
    scores = random.normal(size=len(fold)) + 0.8 * same
    scores = scores.round(0 if ties else 15)
    found = verification_accuracy(scores, same, fold)
    accuracies = []
    for at, tested in enumerate(sorted(set(fold.tolist()))):
        inside = fold == tested
        threshold = slow_threshold(scores[~inside], same[~inside])
        assert found.thresholds[at] == pytest.approx(threshold)
        accuracies.append(100 - 100 * errors_at(threshold, scores[inside], same[inside]) / 20)
    assert found.accuracies.tolist() == pytest.approx(accuracies)
    mean = sum(accuracies) / folds
    assert found.mean == pytest.approx(mean)
    variance = sum((accuracy - mean) ** 2 for accuracy in accuracies) / (folds - 1)
    assert found.std == pytest.approx(variance**0.5)


def test_fold_does_not_choose_its_own_threshold() -> None:
    """Two folds whose best thresholds differ are each tested at the other's."""
    scores = np.array([0.0, 1.0, 10.0, 11.0])
    same = np.array([False, True, False, True])
    found = verification_accuracy(scores, same, np.array([1, 1, 2, 2]))
    assert found.thresholds.tolist() == [10.5, 0.5]
    assert found.accuracies.tolist() == [50.0, 50.0]
    assert verification_accuracy(scores, scores > 5, np.array([1, 2, 1, 2])).mean == 100.0


@pytest.mark.parametrize(
    ("scores", "same", "expected"),
    [
        ([0.0, 1.0, 2.0, 3.0], [0, 0, 1, 1], 1.5),
        ([3.0, 0.0, 2.0, 1.0], [1, 0, 1, 0], 1.5),  # in any order
        ([0.0, 1.0, 1.0, 2.0], [0, 0, 1, 1], 1.5),  # not between equals; 0.5 errs as often
        ([1.0, 2.0], [1, 1], -np.inf),
        ([1.0, 2.0], [0, 0], np.inf),
        ([5.0, 5.0, 5.0], [1, 1, 0], -np.inf),
        ([0.0, 1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1, 1], 2.5),  # 0.5 and 2.5 err once
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0, 1, 0, 1, 0, 1], 2.5),  # 0.5, 2.5 and 4.5
        ([-1e300, -1e20], [0, 1], -5e299),
        ([-1e308, -0.9e308], [1, 1], -np.inf),
    ],
)
def test_best_threshold_of_known_cases(
    scores: list[float], same: list[int], expected: float
) -> None:
    found = best_threshold(np.array(scores), np.array(same, bool))
    assert found == pytest.approx(expected)
    assert slow_threshold(np.array(scores), np.array(same, bool)) == pytest.approx(expected)


@pytest.mark.parametrize("low", [1.0, 1.0 + 2**-52, -1.0, 1e308, 5e-324])
def test_best_threshold_separates_neighbouring_floats(low: float) -> None:
    """Their mean is one of them: rounding must not take it to the upper one."""
    scores = np.array([low, np.nextafter(low, np.inf)])
    threshold = best_threshold(scores, np.array([False, True]))
    assert (scores > threshold).tolist() == [False, True]


def test_accuracy_does_not_depend_on_the_scale_of_the_scores(random: np.random.Generator) -> None:
    same = random.random(60) < 0.5
    scores = random.normal(size=60) + same
    fold = np.arange(60) % 3
    expected = verification_accuracy(scores, same, fold).accuracies.tolist()
    for moved in (1e30 * scores, 1e-30 * scores, scores.astype(np.float32), scores + 1000.0):
        assert verification_accuracy(moved, same, fold).accuracies.tolist() == expected


def test_single_fold_and_nan_are_refused() -> None:
    same = np.array([True, False, True, False])
    with pytest.raises(ValueError, match="two or more folds"):
        verification_accuracy(np.arange(4.0), same, np.ones(4, np.int64))
    for broken in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="not a finite number"):
            verification_accuracy(np.array([0.0, 1.0, broken, 2.0]), same, np.array([1, 1, 2, 2]))


def test_six_thousand_pairs_are_fast(random: np.random.Generator) -> None:
    same = np.arange(6000) % 600 < 300
    scores = random.normal(size=6000) + same
    fold = np.arange(6000) // 600
    times = []
    for _ in range(5):
        start = time.perf_counter()
        found = verification_accuracy(scores, same, fold)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05
    assert found.mean == pytest.approx(69.1, abs=2)  # normal(0.5)


def test_cosine_similarity(random: np.random.Generator) -> None:
    first, second = random.normal(size=(2, 30, 5)).astype(np.float32)
    expected = [1 - cosine(a, b) for a, b in zip(first, second, strict=True)]
    assert cosine_similarity(first, second) == pytest.approx(expected, abs=1e-6)
    for scale in (1e30, 1e-30):  # their squares are no float32
        large = (first * np.float32(scale)).astype(np.float32)
        assert cosine_similarity(large, second) == pytest.approx(expected, abs=1e-6)
    assert cosine_similarity(0 * first, second).tolist() == [0.0] * 30


def features(
    random: np.random.Generator, count: int, size: int, rank: int | None = None
) -> np.ndarray:
    mixed = random.normal(size=(count, rank or size)) @ random.normal(size=(rank or size, size))
    return (mixed + 5.0).astype(np.float32)


def test_all_components_give_the_mahalanobis_distance(random: np.random.Generator) -> None:
    """With the inverse covariance of the training set, by scipy."""
    train = features(random, 200, 6)
    first, second = features(random, 20, 6), features(random, 20, 6)
    inverse = np.linalg.inv(np.cov(train.astype(np.float64), rowvar=False))
    expected = [-(mahalanobis(a, b, inverse) ** 2) for a, b in zip(first, second, strict=True)]
    found = mahalanobis_similarity(first, second, fit_whitening(train, 1.0))
    assert found == pytest.approx(expected, rel=1e-6)


def test_features_far_from_zero_lose_no_digits(random: np.random.Generator) -> None:
    train, first, second = (random.normal(size=(n, 6)) for n in (200, 20, 20))
    near = mahalanobis_similarity(first, second, fit_whitening(train, 1.0))
    far = mahalanobis_similarity(first, second, fit_whitening(train + 2.0**16, 1.0))
    assert far == pytest.approx(near, rel=1e-9)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_components_explain_the_share_of_variance(
    random: np.random.Generator, share: float
) -> None:
    """The number and the space are scikit-learn's own, in which variances are 1."""
    train, other = features(random, 300, 12), features(random, 9, 12)
    whitening = fit_whitening(train, share)
    pca = PCA(n_components=share, svd_solver="full", whiten=True).fit(train.astype(np.float64))
    assert len(whitening) == pca.n_components_ < 12
    expected = -((pca.transform(other[:-1]) - pca.transform(other[1:])) ** 2).sum(1)
    found = mahalanobis_similarity(other[:-1], other[1:], whitening)
    assert found == pytest.approx(expected, rel=1e-4)
    covariance = np.atleast_2d(np.cov((train.astype(np.float64) @ whitening.T).T))
    assert covariance == pytest.approx(np.eye(len(whitening)), abs=1e-8)


@pytest.mark.parametrize("share", [0.99, 1.0])
@pytest.mark.parametrize("far", [0.0, 1000.0])
def test_whitening_of_degenerate_features(
    random: np.random.Generator, share: float, far: float
) -> None:
    """Directions without variance in the training set do not affect the distance."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deficient = features(random, 100, 20, rank=3) + np.float32(far)
        whitening = fit_whitening(deficient, share)
        assert len(whitening) <= 3
        assert len(whitening) == 3 or share < 1
        few = fit_whitening(features(random, 4, 20), 1.0)
        assert len(few) == 3  # of 4 images: their mean is taken away
        constant = fit_whitening(np.full((50, 8), 0.1 + far, np.float32), share)
        zero = fit_whitening(np.zeros((50, 8), np.float32), share)
        assert len(constant) == len(zero) == 0
        alike = mahalanobis_similarity(features(random, 6, 8), features(random, 6, 8), constant)
    assert (alike == 0).all()
    assert verification_accuracy(alike, np.arange(6) % 2 == 0, np.arange(6) // 2).mean == 50.0


def test_features_that_are_not_finite_are_refused(random: np.random.Generator) -> None:
    broken = features(random, 10, 4)
    broken[3, 2] = np.nan
    with pytest.raises(ValueError, match="not a finite number"):
        fit_whitening(broken, 0.99)
