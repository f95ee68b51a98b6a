"""Telling normal inputs from others by a score: ROC, equal error rate, AUROC, FPR at 95 % TPR."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossbench.errors import NotFiniteError

Scores = NDArray[np.floating]
STORED_POINTS = 512


@dataclass(frozen=True)
class Detection:
    """How well a threshold on a score tells normal inputs (above it) from others.

    Attributes:
        false_accept: (R,) Share of the other inputs that are accepted, ascending.
        true_accept: (R,) Share of the normal inputs that are accepted at the same threshold.
    """

    false_accept: NDArray[np.float64]
    true_accept: NDArray[np.float64]

    @property
    def eer(self) -> float:
        """Equal error rate, in percent: where as many others are accepted as normals rejected."""
        gap = self.false_accept - (1 - self.true_accept)  # ascending, from -1 to 1
        after = int(np.argmax(gap >= 0))
        if gap[after] == 0 or after == 0:
            return 100.0 * float(self.false_accept[after])
        share = -gap[after - 1] / (gap[after] - gap[after - 1])  # on the line between two points
        low, high = self.false_accept[after - 1 : after + 1]
        return 100.0 * float(low + share * (high - low))

    @property
    def auroc(self) -> float:
        """Area under the curve, in percent: how often a normal input has the higher score."""
        return 100.0 * float(np.trapezoid(self.true_accept, self.false_accept))

    def fpr_at(self, true_accept: float) -> float:
        """Share of others accepted, in percent, where at least this share of normals is."""
        enough = self.true_accept >= true_accept - 1e-12
        return 100.0 * float(self.false_accept[np.argmax(enough)])

    def thinned(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """At most 512 points of the curve, for drawing."""
        count = len(self.false_accept)
        keep = np.unique(np.linspace(0, count - 1, min(count, STORED_POINTS)).round().astype(int))
        return self.false_accept[keep].astype(np.float32), self.true_accept[keep].astype(np.float32)


def detect(normal: Scores, other: Scores) -> Detection:
    """The ROC curve of accepting inputs whose score is at least a threshold.

    Args:
        normal: (N,) scores of normal inputs, larger is more normal; -inf is allowed.
        other: (M,) of the others.

    Raises:
        ValueError: One of them is empty.
        NotFiniteError: One of them has a NaN.
    """
    from sklearn.metrics import roc_curve  # takes seconds, and few trials need it

    if not len(normal) or not len(other):
        raise ValueError("no scores to compare")
    scores = np.concatenate([normal, other]).astype(np.float64)
    if np.isnan(scores).any():
        raise NotFiniteError("a score is not a number")
    is_normal = np.concatenate([np.ones(len(normal)), np.zeros(len(other))])
    # by rank: the order decides, and infinities are in it like any other score
    _, rank = np.unique(scores, return_inverse=True)
    # every point: `fpr_at` looks for one, and may not jump over those on a straight line
    false_accept, true_accept, _ = roc_curve(is_normal, rank, drop_intermediate=False)
    return Detection(false_accept, true_accept)
