"""Calibration of class posteriors: proper scores, reliability in bins, temperature scaling.

Pure functions; `calibration` uses them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Bins = NDArray[np.int64]
"""(N,) Number of the bin of each image, from 0."""
BLOCK_SIZE = 2**22
"""Largest number of scores in float64 at a time, except for those of a single image."""
TEMPERATURES = (1e-3, 1e3)
"""Range of the temperatures that are tried."""


@dataclass(frozen=True)
class Predictions:
    """Posterior of each image, reduced to what calibration is measured by.

    Attributes:
        nll: (N,) Negative log-likelihood of the true class in nats.
        brier: (N,) Squared distance of the posterior from the true class, in [0, 2].
        confidence: (N,) Posterior of the predicted class.
        correct: (N,) Whether the predicted class is the true one.
    """

    nll: Floats
    brier: Floats
    confidence: Floats
    correct: NDArray[np.bool_]


@torch.no_grad()
def predictions(scores: Tensor, labels: Tensor, temperature: float = 1.0) -> Predictions:
    """Predictions by the softmax of scores / temperature, computed in float64.

    Args:
        scores: (N, K) Finite.
        labels: (N,), in [0, K).
        temperature: > 0.
    """
    rows = max(BLOCK_SIZE // scores.shape[1], 1)
    parts: list[list[Tensor]] = []
    for part, true in zip(scores.split(rows), labels.split(rows), strict=True):
        log_posterior = (part.double() / temperature).log_softmax(1)  # (B, K)
        posterior = log_posterior.exp()
        confidence, predicted = posterior.max(1)
        nll = -log_posterior.gather(1, true[:, None]).squeeze(1)
        posterior[torch.arange(len(true), device=true.device), true] -= 1
        brier = posterior.square().sum(1)
        parts.append([nll, brier, confidence, predicted == true])
    nll, brier, confidence, correct = (
        torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)
    )
    return Predictions(nll, brier, confidence, correct)


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy in bins of images.

    Attributes:
        count: (M,) Number of images in each bin.
        confidence: (M,) Their mean confidence; 0 in empty bins.
        accuracy: (M,) Share of them that is predicted correctly; 0 in empty bins.
    """

    count: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats

    @property
    def calibration_error(self) -> float:
        """Expected calibration error in percent: sum_m n_m / N |accuracy_m - confidence_m|."""
        gap = np.abs(self.accuracy - self.confidence)
        return 100.0 * float((self.count * gap).sum() / self.count.sum())


def reliability(confidence: Floats, accuracy: Floats, bins: Bins, num_bins: int) -> Reliability:
    """Mean confidence and accuracy of each bin.

    Args:
        confidence: (N,)
        accuracy: (N,) 1 for a correct prediction, 0 for a wrong one.
        bins: Bin of each image, in [0, num_bins).
        num_bins: M
    """
    count = np.bincount(bins, minlength=num_bins)
    means = [
        np.bincount(bins, weights=values, minlength=num_bins) / np.maximum(count, 1)
        for values in (confidence, accuracy)
    ]
    return Reliability(count, *means)


def equal_width_reliability(found: Predictions, num_bins: int) -> Reliability:
    """Reliability in the bins ((m - 1) / M, m / M] of the confidence, m = 1, ..., M.

    Reference: Guo et al., ICML 2017, Sect. 2.
    """
    edges = np.arange(1, num_bins) / num_bins
    bins = np.searchsorted(edges, found.confidence, side="left")
    return reliability(found.confidence, found.correct.astype(np.float64), bins, num_bins)


def equal_mass_reliability(found: Predictions, num_bins: int) -> Reliability:
    """Reliability in bins of equal numbers of images, in the order of their confidence.

    The numbers differ by at most 1 if M does not divide N. Images of equal confidence count with
    their mean accuracy, so that the order of the images does not matter.

    Reference: Nixon et al., CVPR Workshops 2019: the ranges of the adaptive calibration error,
        here for the confidence only instead of the posterior of every class.
    """
    order = np.argsort(found.confidence, kind="stable")
    confidence = found.confidence[order]
    _, place, count = np.unique(confidence, return_inverse=True, return_counts=True)
    accuracy = (np.bincount(place, weights=found.correct[order]) / count)[place]
    bins = np.arange(len(order)) * num_bins // len(order)
    return reliability(confidence, accuracy, bins, num_bins)


def fit_temperature(scores: Tensor, labels: Tensor) -> float:
    """Temperature T with the smallest mean negative log-likelihood of softmax(scores / T).

    The likelihood has a single maximum in 1 / T, which is found by a bounded minimisation over
    log T. If there is none, because all images are predicted correctly, T is the smallest that is
    tried.

    Args:
        scores: (N, K) Finite.
        labels: (N,), in [0, K).

    Returns:
        T, in `TEMPERATURES`.

    Reference: Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks. ICML 2017,
        Sect. 4.2.
    """
    from scipy.optimize import minimize_scalar  # few trials need it

    def mean_nll(log_temperature: float) -> float:
        return float(predictions(scores, labels, math.exp(log_temperature)).nll.mean())

    low, high = (math.log(limit) for limit in TEMPERATURES)
    inside = minimize_scalar(
        mean_nll, bounds=(low, high), method="bounded", options={"xatol": 1e-7}
    ).x
    return math.exp(min((low, float(inside), high), key=mean_nll))
