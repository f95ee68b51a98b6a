"""The rule of divergence: collapses are found, noise on few images is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from lossbench.planning.divergence import collapse_reason, guessing_note

Labels = NDArray[np.int64]


def answers(labels: Labels, right: int, classes: int, seed: int = 0) -> Labels:
    """`right` answers are right, spread over the classes; the others are wrong at random."""
    rng = np.random.default_rng(seed)
    wrong = (labels + rng.integers(1, classes, len(labels))) % classes
    wrong[:right] = labels[:right]
    return wrong


@pytest.mark.parametrize("images", [32, 100])
def test_noise_on_few_images_is_not_diverged(images: int) -> None:
    labels = np.arange(images) % 2
    for error in (35, 32, 41, 21, 32, 49, 50, 55, 60):
        right = round(images * (100 - error) / 100)
        assert collapse_reason(answers(labels, right, 2), labels, 2) == ""


@pytest.mark.parametrize("images", [1, 2, 5, 10, 32, 100, 1000, 10_000])
@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_threshold_equals_an_exact_binomial_test(images: int, classes: int) -> None:
    labels = np.arange(images) % classes
    for right in {0, 1, images // classes, math.floor(0.9 * images / classes), images}:
        predicted = answers(labels, right, classes)
        if len(np.unique(predicted)) == 1:
            continue
        found = collapse_reason(predicted, labels, classes)
        assert bool(found) == (binom.cdf(right, images, 1 / classes) < 0.001)
        assert not found or f"right on {right:,} of {images:,} images" in found


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("images", [10, 32, 100, 10_000])
def test_at_most_one_in_a_thousand_guessing_trials_is_diverged(images: int, classes: int) -> None:
    counts = np.arange(images + 1)
    called = binom.cdf(counts, images, 1 / classes) < 0.001
    assert binom.pmf(counts, images, 1 / classes)[called].sum() <= 0.001


def test_chance_level_on_many_images_is_noted_but_not_diverged() -> None:
    labels = np.arange(10_000) % 10
    predicted = answers(labels, 1000, 10)
    assert collapse_reason(predicted, labels, 10) == ""
    assert guessing_note(predicted, labels, 10) == (
        "no better than guessing: right on 1,000 of 10,000 images"
    )
    assert "worse than guessing" in collapse_reason(answers(labels, 900, 10), labels, 10)
    assert guessing_note(answers(labels, 1060, 10), labels, 10) == ""


@pytest.mark.parametrize("images", [2, 4, 10, 32, 10_000])
def test_constant_answers_are_a_collapse_reason(images: int) -> None:
    labels = np.arange(images) % 2
    assert collapse_reason(np.ones_like(labels), labels, 2) == (
        f"gave the same class for all {images:,} images"
    )


def test_nearly_constant_predictions_are_a_collapse() -> None:
    labels = np.arange(10_000) % 10
    predicted = np.full(10_000, 3)
    predicted[:80] = 5
    assert (
        collapse_reason(predicted, labels, 10) == "gave the same class for 9,920 of 10,000 images"
    )
    predicted[:200] = 5
    assert collapse_reason(predicted, labels, 10) == ""


def test_constant_predictions_with_few_other_images_are_no_collapse() -> None:
    """Constant predictions are a collapse only if there are enough other images."""
    labels = np.repeat([0, 1], [900, 100])
    assert collapse_reason(np.zeros_like(labels), labels, 2)
    predicted = np.repeat([0, 1], [950, 50])
    assert collapse_reason(predicted, labels, 2) == ""
    one_rare = np.repeat([0, 1], [49, 1])
    assert collapse_reason(np.zeros_like(one_rare), one_rare, 2) == ""  # 2 % error
    assert collapse_reason(np.ones_like(one_rare), one_rare, 2)  # 98 % error
    fraud = np.repeat([0, 1], [9_990, 10])
    assert collapse_reason(fraud.copy(), fraud, 2) == ""  # all right
    assert collapse_reason(np.zeros_like(fraud), fraud, 2)


def test_a_test_set_of_one_class_has_no_collapse() -> None:
    for size in (1, 3, 100):
        alike = np.zeros(size, dtype=np.int64)
        assert collapse_reason(alike, alike, 3) == ""
        assert guessing_note(alike, alike, 3) == ""
    assert collapse_reason(np.array([0]), np.array([1]), 2) == ""  # one image is not enough


def test_guessing_means_the_most_frequent_class() -> None:
    labels = np.repeat([0, 1], [900, 100])
    assert guessing_note(np.zeros_like(labels), labels, 2)
    assert guessing_note(np.repeat([1, 0], [20, 980]), labels, 2)
    assert not guessing_note(np.repeat([0, 1], [930, 70]), labels, 2)
