"""Rule by which a finished training counts as diverged because of its predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc

WORSE_LEVEL = 0.001
"""Significance level for "worse than guessing": a model is worse if guessing gives at most its
number of correct predictions with a smaller probability."""
BETTER_LEVEL = 0.05
"""Significance level for "better than guessing": a model is better if guessing gives at least its
number of correct predictions with at most this probability."""
MIN_OTHERS = 10
"""Number of images outside the most frequently predicted class below which constant predictions may
be those of a good model."""
RULE = (
    "A trial counts as diverged if its loss, features or class scores were not finite; if it "
    "predicted the same class for all test images, with at most 1 % exceptions among the images "
    "of other classes; or if its accuracy was below that of guessing among K classes, 1/K "
    f"(p < {WORSE_LEVEL:g} in a one-sided exact binomial test). All other trials are in the mean."
)
NO_BETTER = "no better than guessing"
FORMER_REASON = "ended no better than chance"
"""Reason that earlier versions stored for every trial near chance level, even for few images."""

Labels = NDArray[np.integer[Any]]


def collapse_reason(predicted: Labels, labels: Labels, num_classes: int) -> str:
    """Reason why a training counts as diverged because of its predictions; empty if it does not.

    1. Constant predictions: all images are assigned to the class c, although the labels differ.
       Exceptions are allowed: the number of images with another prediction may be up to 1 % of the
       number of images whose label is not c. If fewer than ten images, and fewer than a tenth, have
       another label than c, it is not a collapse: a good model can miss all of them.
    2. Worse than guessing: with n correct predictions of N, P(X <= n) < 0.001 for
       X ~ Bin(N, 1/K).

    A training that is merely no better than guessing is not diverged: on few images this is often
    chance, and a mean without the unlucky trials would be too good. Among trials that guess each
    image independently, the rule finds at most 1 in 1,000 worse than guessing, and fewer among
    better trials. A network after little training assigns similar images to the same class, so its
    number of correct predictions varies more.

    Args:
        predicted: (N,), N >= 1.
        labels: (N,)
        num_classes: K.
    """
    images = len(labels)
    classes, counts = np.unique(predicted, return_counts=True)
    most_predicted, same = classes[counts.argmax()], int(counts.max())
    others = int((labels != most_predicted).sum())
    few = others < MIN_OTHERS and 10 * others < images
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


def guessing_note(predicted: Labels, labels: Labels, num_classes: int) -> str:
    """Note on a model that is not shown to be better than guessing; otherwise empty.

    Guessing means the better of two predictions that need no image: the most frequent class of
    these images, or one of K classes at random.

    Args:
        predicted: (N,), N >= 1.
        labels: (N,)
        num_classes: K.
    """
    images, right = len(labels), int((predicted == labels).sum())
    most_frequent = int(np.unique(labels, return_counts=True)[1].max())
    if most_frequent == images:  # there is only one class
        return ""
    guess = max(1 / num_classes, most_frequent / images)
    if right and bdtrc(right - 1, images, guess) <= BETTER_LEVEL:
        return ""
    return f"{NO_BETTER}: right on {right:,} of {images:,} images"
