from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lossbench.data.images import ArrayImages
from lossbench.data.prepared import ArraySplit
from lossbench.errors import NotFiniteError
from lossbench.evaluation.base import Trained, extract_features
from lossbench.evaluation.calibration import Calibration
from lossbench.evaluation.calibration_errors import fit_temperature, predictions
from tests.evaluation.trained_model import (
    CLASSES,
    SCALE,
    make_head,
    make_images,
    make_trained,
    with_scores,
)


def with_validation(name: str) -> Trained:
    """40 images to validate, of which 3/5 are predicted correctly, and 60 to measure, 9/10."""
    trained = make_trained(make_head(name))
    pixels, labels = make_images(100)
    pixels = pixels.permute(0, 2, 3, 1)
    with torch.no_grad():
        features = extract_features(trained.model, SCALE, ArrayImages(pixels, labels))
        predicted = trained.head.logits(features).argmax(1)
    places = torch.arange(100)
    right = torch.where(places < 40, places % 5 < 3, places % 10 < 9)
    labels = torch.where(right, predicted, (predicted + 1) % CLASSES)
    split = ArraySplit(pixels[:40].numpy(), labels[:40].numpy())
    return replace(trained, measured=ArrayImages(pixels[40:], labels[40:]), validation=split)


@pytest.mark.parametrize("name", ["softmax", "lgm", "center"])
@pytest.mark.parametrize("temperature", [False, True])
def test_measures_and_stores_what_it_declares(name: str, temperature: bool) -> None:
    evaluation = Calibration(bins=7, temperature=temperature)
    assert evaluation.needs_validation == temperature
    found = evaluation(with_validation(name))
    assert list(found.values) == [metric.name for metric in evaluation.metrics()]
    assert list(found.arrays) == [artifact.name for artifact in evaluation.artifacts()]
    for artifact in evaluation.artifacts():
        stored = found.arrays[artifact.name]
        for metric, prefix in zip(artifact.metrics, ("", "adaptive_"), strict=True):
            count = stored[f"{prefix}count"]
            assert (len(count), count.sum()) == (7, 60)
            gap = np.abs(stored[f"{prefix}confidence"] - stored[f"{prefix}accuracy"])
            assert found.values[metric] == pytest.approx(100 * (count * gap).sum() / 60)
    assert found.arrays["reliability"]["temperature"] == 1


def test_temperature_is_fitted_on_the_validation_set_only() -> None:
    trained = with_validation("softmax")
    found = Calibration(temperature=True)(trained)
    assert trained.validation is not None
    images = trained.on_device(trained.validation)
    with torch.no_grad():
        features = extract_features(trained.model, trained.normalise, images)
        scores = trained.head.logits(features)
    expected = fit_temperature(scores, images.labels)
    assert found.arrays["scaled_reliability"]["temperature"] == expected
    labels = trained.measured_images.labels
    assert 0.01 < fit_temperature(trained.scores, labels) < 0.9 * expected < 100
    scaled = predictions(trained.scores, labels, expected)
    assert found.values["scaled_nll"] == pytest.approx(scaled.nll.mean())
    assert found.values["scaled_brier_score"] == pytest.approx(scaled.brier.mean())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_scores_that_are_not_finite_are_refused(value: float) -> None:
    scores = torch.zeros(3, 4)
    scores[1, 2] = value
    with pytest.raises(NotFiniteError, match="class score of the measured images is not a finite"):
        Calibration()(with_scores(scores, torch.arange(3)))
