"""Detection metrics from scores: ROC curve, equal error rate, AUROC, and FPR at a given TPR.

Pure functions, named as in torchmetrics; `ood_detection` and `verification` use them. The positive
inputs are the in-distribution ones (test images, pairs of one person); they should have the larger
scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lossbench.errors import NotFiniteError

Scores = NDArray[np.floating]
Rates = NDArray[np.float64]
"""(R,) Rates in [0, 1] along a ROC curve, in ascending order."""
STORED_POINTS = 512
"""Number of stored points of a ROC curve."""


def binary_roc(positive: Scores, negative: Scores) -> tuple[Rates, Rates]:
    """ROC curve of accepting inputs whose score is at least a threshold.

    It depends only on the order of the scores.

    Args:
        positive: (N,) Scores of the inputs to accept; -inf is allowed.
        negative: (M,) Scores of the inputs to reject; -inf is allowed.

    Returns:
        False positive rates (R,) and true positive rates (R,) of all thresholds.

    Raises:
        ValueError: There are no positive or no negative scores.
        NotFiniteError: A score is NaN.
    """
    from sklearn.metrics import roc_curve  # the import takes seconds, and few trials need it

    if not len(positive) or not len(negative):
        raise ValueError("no scores to compare")
    scores = np.concatenate([positive, negative]).astype(np.float64)
    if np.isnan(scores).any():
        raise NotFiniteError("a score is not a number")
    is_positive = np.concatenate([np.ones(len(positive)), np.zeros(len(negative))])
    # ranks instead of scores, because roc_curve does not accept infinities
    _, rank = np.unique(scores, return_inverse=True)
    # all points: on a straight line `fpr_at_tpr` would otherwise miss those in between
    fpr, tpr, _ = roc_curve(is_positive, rank, drop_intermediate=False)
    return fpr, tpr


def binary_eer(fpr: Rates, tpr: Rates) -> float:
    """Equal error rate in percent: false positive rate where it equals the false negative rate.

    Args:
        fpr, tpr: (R,) As returned by `binary_roc`.

    Deviations: interpolated linearly between the two nearest points of the curve; torchmetrics
        returns the nearest point.
    """
    gap = fpr - (1 - tpr)  # (R,) ascending, from -1 to 1
    after = int(np.argmax(gap >= 0))
    if gap[after] == 0 or after == 0:
        return 100.0 * float(fpr[after])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    low, high = fpr[after - 1 : after + 1]
    return 100.0 * float(low + share * (high - low))


def binary_auroc(fpr: Rates, tpr: Rates) -> float:
    """Area under the ROC curve in percent: probability that a positive input has the larger score.

    Args:
        fpr, tpr: (R,) As returned by `binary_roc`.
    """
    return 100.0 * float(np.trapezoid(tpr, fpr))


def fpr_at_tpr(fpr: Rates, tpr: Rates, min_tpr: float) -> float:
    """Smallest false positive rate, in percent, at a true positive rate of at least `min_tpr`.

    Args:
        fpr, tpr: (R,) As returned by `binary_roc`.
        min_tpr: Minimum true positive rate, in [0, 1].
    """
    enough = tpr >= min_tpr - 1e-12
    return 100.0 * float(fpr[np.argmax(enough)])


def subsample_roc(
    fpr: Rates, tpr: Rates, max_points: int = STORED_POINTS
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """At most `max_points` evenly spaced points of a ROC curve, including its two ends.

    Args:
        fpr, tpr: (R,) As returned by `binary_roc`.
        max_points: Maximum number of points, at least 2.
    """
    keep = np.linspace(0, len(fpr) - 1, min(len(fpr), max_points)).round().astype(int)
    keep = np.unique(keep)
    return fpr[keep].astype(np.float32), tpr[keep].astype(np.float32)
