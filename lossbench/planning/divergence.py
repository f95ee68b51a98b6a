"""When a finished training counts as diverged, judged by the answers that it gave."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc

WORSE_LEVEL = 0.001
"""A model is worse than guessing if guessing has this few right answers less often than this."""
BETTER_LEVEL = 0.05
"""A model is shown to be better than guessing if guessing has as many right this rarely."""
FEW = 10
"""Images of rare classes on which a good model may well give one answer throughout."""
RULE = (
    "A trial counts as diverged if its loss, features or class scores were not finite; if it "
    "predicted the same class for all test images, with at most 1 % exceptions among the images "
    "of other classes; or if its accuracy was below that of guessing among K classes, 1/K "
    f"(p < {WORSE_LEVEL:g} in a one-sided exact binomial test). All other trials are in the mean."
)
NO_BETTER = "no better than guessing"
FORMER_REASON = "ended no better than chance"
"""Reason that earlier versions stored for every trial near chance, however few its images."""

Labels = NDArray[np.integer[Any]]


def collapse(predicted: Labels, labels: Labels, num_classes: int) -> str:
    """Why a training counts as diverged, by its answers; empty if it does not.

    1. Constant answers: all images get the class c, though the labels differ. Of many images a
       few may differ: at most 1 in 100 of those whose label is not c. Where fewer than ten
       images, and fewer than a tenth, have another label than c, that is no collapse: a good
       model can miss all of so few.
    2. Worse than guessing: with n right answers of N, P(X <= n) < 0.001 for X ~ Bin(N, 1/K).

    A training that is merely no better than guessing is not diverged. On few images that is
    luck as often as not, and a mean without the unlucky trials would be too good. Of trials that
    guess each image independently the rule calls at most 1 in 1,000 worse than guessing, and
    fewer of those that are better. A network that has hardly been trained gives similar images
    the same answer, so the number of its right answers varies more.

    Args:
        predicted: (N,), N >= 1.
        labels: (N,)
        num_classes: K.
    """
    images = len(labels)
    classes, counts = np.unique(predicted, return_counts=True)
    answer, same = classes[counts.argmax()], int(counts.max())
    others = int((labels != answer).sum())
    few = others < FEW and 10 * others < images
    if (labels != labels[0]).any() and not few and 100 * (images - same) <= others:
        if same == images:
            return f"gave the same class for all {images:,} images"
        return f"gave the same class for {same:,} of {images:,} images"
    right = int((predicted == labels).sum())
    if bdtr(right, images, 1 / num_classes) < WORSE_LEVEL:
        return (
            f"was right on {right:,} of {images:,} images, worse than guessing among "
            f"{num_classes:,} classes (p < {WORSE_LEVEL:g})"
        )
    return ""


def guessing(predicted: Labels, labels: Labels, num_classes: int) -> str:
    """A note on a model that is not shown to be better than guessing; else empty.

    Guessing is the best of what needs no image: always the commonest class of these images, or
    any of K classes at random.

    Args:
        predicted: (N,), N >= 1.
        labels: (N,)
        num_classes: K.
    """
    images, right = len(labels), int((predicted == labels).sum())
    commonest = int(np.unique(labels, return_counts=True)[1].max())
    if commonest == images:  # nothing to tell apart
        return ""
    guess = max(1 / num_classes, commonest / images)
    if right and bdtrc(right - 1, images, guess) <= BETTER_LEVEL:
        return ""
    return f"{NO_BETTER}: right on {right:,} of {images:,} images"
