from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torch import Tensor

from lossbench.evaluation import calibration_errors
from lossbench.evaluation.calibration_errors import (
    TEMPERATURES,
    Predictions,
    equal_mass_reliability,
    equal_width_reliability,
    fit_temperature,
    predictions,
)


def make_scores(count: int = 400, classes: int = 6, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (count,), generator=generator)
    scores = torch.randn(count, classes, generator=generator)
    return scale * (scores + 1.5 * torch.nn.functional.one_hot(labels, classes)), labels


def slow_posteriors(scores: Tensor, temperature: float = 1.0) -> list[list[float]]:
    posteriors = []
    for row in scores.tolist():
        powers = [math.exp((score - max(row)) / temperature) for score in row]
        posteriors.append([power / sum(powers) for power in powers])
    return posteriors


def slow_error(bins: list[list[tuple[float, bool]]]) -> float:
    """Calibration error in percent from the confidence and the correctness of the images in bins"""
    total = sum(len(images) for images in bins)
    error = 0.0
    for images in filter(None, bins):
        confidence = sum(c for c, _ in images) / len(images)
        accuracy = sum(correct for _, correct in images) / len(images)
        error += len(images) / total * abs(accuracy - confidence)
    return 100 * error


@pytest.mark.parametrize("block", [1, 1000, 10**9])
@pytest.mark.parametrize("temperature", [1.0, 0.3, 7.0])
def test_scores_agree_with_scikit_learn(
    temperature: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration_errors, "BLOCK_SIZE", block)
    scores, labels = make_scores()
    found = predictions(scores, labels, temperature)
    posteriors = np.array(slow_posteriors(scores, temperature))
    assert found.nll.mean() == pytest.approx(log_loss(labels.numpy(), posteriors))
    assert found.brier.mean() == pytest.approx(brier_score_loss(labels.numpy(), posteriors))
    np.testing.assert_allclose(found.confidence, posteriors.max(1))
    assert found.correct.tolist() == (posteriors.argmax(1) == labels.numpy()).tolist()


def test_brier_score_is_at_most_two() -> None:
    found = predictions(torch.tensor([[1e4, 0.0], [0.0, 0.0]]), torch.tensor([1, 1]))
    assert found.brier.tolist() == [2.0, 0.5]
    assert found.nll.tolist() == [1e4, pytest.approx(math.log(2))]


@pytest.mark.parametrize("num_bins", [1, 4, 15, 100])
def test_error_in_bins_of_equal_width_agrees_with_loops(num_bins: int) -> None:
    scores, labels = make_scores()
    found = equal_width_reliability(predictions(scores, labels), num_bins)
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(num_bins)]
    for row, label in zip(slow_posteriors(scores), labels.tolist(), strict=True):
        for m in range(num_bins):
            if m / num_bins < max(row) <= (m + 1) / num_bins:
                bins[m].append((max(row), row.index(max(row)) == label))
    assert sum(map(len, bins)) == 400
    assert found.count.tolist() == [len(images) for images in bins]
    assert found.calibration_error == pytest.approx(slow_error(bins))
    assert found.calibration_error > 1
    for m, images in enumerate(bins):
        means = np.mean(images, axis=0).tolist() if images else [0, 0]
        assert [found.confidence[m], found.accuracy[m]] == pytest.approx(means)


def test_confidence_at_an_edge_belongs_to_the_lower_bin() -> None:
    confidence = np.array([0.2, np.nextafter(0.2, 1), 0.6, 1.0])
    found = Predictions(confidence, confidence, confidence, np.ones(4, dtype=bool))
    assert equal_width_reliability(found, 5).count.tolist() == [1, 1, 1, 0, 1]


@pytest.mark.parametrize("num_bins", [1, 7, 15, 400, 1000])
def test_error_in_bins_of_equal_size_agrees_with_loops(num_bins: int) -> None:
    scores, labels = make_scores()
    found = equal_mass_reliability(predictions(scores, labels), num_bins)
    images = sorted(
        (max(row), row.index(max(row)) == label)
        for row, label in zip(slow_posteriors(scores), labels.tolist(), strict=True)
    )
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(num_bins)]
    for i, image in enumerate(images):
        bins[math.floor(i * num_bins / 400)].append(image)
    sizes = {len(part) for part in bins}
    assert max(sizes) - min(sizes) <= 1
    assert found.count.tolist() == [len(part) for part in bins]
    assert found.calibration_error == pytest.approx(slow_error(bins))


def test_error_in_bins_of_equal_size_does_not_depend_on_the_order_of_images() -> None:
    """Many images of a confident network have the same confidence, 1."""
    random = np.random.default_rng(0)
    confidence = random.integers(5, 8, 90) / 7
    correct = random.random(90) < confidence
    errors = set()
    for _ in range(20):
        order = random.permutation(90)
        shuffled = confidence[order]
        found = Predictions(shuffled, shuffled, shuffled, correct[order])
        errors.add(round(equal_mass_reliability(found, 4).calibration_error, 9))
    assert len(errors) == 1


@pytest.mark.parametrize("scale", [0.02, 1.0, 300.0])
def test_temperature_has_the_smallest_likelihood_loss(scale: float) -> None:
    """At the best T, the mean score of the true class is the mean expected score."""
    scores, labels = make_scores(scale=scale)
    found = fit_temperature(scores, labels)
    expected = [
        sum(p * s for p, s in zip(posterior, row, strict=True))
        for posterior, row in zip(slow_posteriors(scores, found), scores.tolist(), strict=True)
    ]
    true = scores[torch.arange(400), labels].double().numpy()
    assert np.mean(expected) == pytest.approx(true.mean(), rel=1e-5)
    grid = found * np.geomspace(0.5, 2, 41)
    losses = [log_loss(labels.numpy(), np.array(slow_posteriors(scores, t))) for t in grid]
    assert np.argmin(losses) == 20


def test_temperature_is_proportional_to_the_scores() -> None:
    scores, labels = make_scores()
    assert fit_temperature(50 * scores, labels) == pytest.approx(
        50 * fit_temperature(scores, labels), rel=1e-5
    )


def test_temperature_is_limited_where_none_is_best() -> None:
    labels = torch.arange(40) % 4
    right = torch.nn.functional.one_hot(labels, 4).float()
    assert fit_temperature(right, labels) == pytest.approx(TEMPERATURES[0])
    assert fit_temperature(-right, labels) == pytest.approx(TEMPERATURES[1])
