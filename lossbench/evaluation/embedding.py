"""Arrays for plots of two-dimensional features (Fig. 1 of the L-GM paper)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lossbench.evaluation.adversarial import classification_objective, fgsm
from lossbench.evaluation.base import Arrays, Trained, as_arrays, extract_features
from lossbench.losses import DensityHead

MAX_POINTS = 5000
"""Largest number of training images to store."""
GRID_SIZE = 160
"""Number of grid points G per axis."""
MAX_ATTACKED = 200
"""Largest number of FGSM examples to store."""
EPSILON = 0.3
"""Size of the FGSM perturbation as a share of the pixel range."""


def embedding(trained: Trained) -> Arrays:
    """Features of some training images, class means, and the density on a grid.

    Args:
        trained: Trained model with two-dimensional features.

    Returns:
        `features` (M, 2) and `labels` (M,), with M at most 5,000; `class_means` (K, 2), of a
        density head, otherwise of the features; and `class_names` (K,), if they are known. For a
        density head also `grid_x` (G,), `grid_y` (G,) and `log_density` (G, G), in rows of equal
        y: the log-density of the mixture with equal priors; for two classes `class_log_density`
        (2, G, G); and for images `adversarial` (A, 2), features of FGSM examples of measured
        images, with their `epsilon`.
    """
    arrays = as_arrays(_tensors(trained))
    if trained.class_names:
        arrays["class_names"] = np.asarray(trained.class_names, dtype=np.str_)
    return arrays


@torch.no_grad()
def _tensors(trained: Trained) -> dict[str, Tensor]:
    head, labels = trained.head, trained.train.labels
    pick = torch.linspace(0, len(labels) - 1, min(MAX_POINTS, len(labels))).round().long()
    features = extract_features(trained.model, trained.normalise, trained.train, pick)  # (M, 2)
    labels = labels[pick.to(labels.device)]
    kept = {"features": features, "labels": labels}
    if not isinstance(head, DensityHead):
        sums = features.new_zeros(head.num_classes, 2).index_add_(0, labels, features)
        counts = torch.bincount(labels, minlength=head.num_classes).clamp_min(1)
        return {**kept, "class_means": sums / counts[:, None]}

    low, high = features.amin(0), features.amax(0)  # (2,)
    middle, reach = (low + high) / 2, float((high - low).max()) * 0.6 + 1e-6
    x, y = (
        torch.linspace(float(m) - reach, float(m) + reach, GRID_SIZE, device=features.device)
        for m in middle
    )  # a square slightly larger than the range of the points
    points = torch.cartesian_prod(y, x).flip(1)  # (G * G, 2) as (x, y), row = y
    by_class = head.class_log_density(points).T.reshape(-1, GRID_SIZE, GRID_SIZE)  # (K, G, G)
    kept |= {"class_means": head.class_means, "grid_x": x, "grid_y": y}
    kept["log_density"] = by_class.logsumexp(0) - math.log(head.num_classes)
    if head.num_classes == 2:
        kept["class_log_density"] = by_class
    if trained.measured is not None and trained.measured.are_pixels:
        kept |= {"adversarial": _attacked(trained), "epsilon": torch.tensor(EPSILON)}
    return kept


def _attacked(trained: Trained) -> Tensor:
    """Features (A, 2) of FGSM examples of some measured images."""
    labels = trained.measured_images.labels
    pick = torch.linspace(0, len(labels) - 1, min(MAX_ATTACKED, len(labels))).round().long()
    labels = labels[pick.to(labels.device)]
    objective = classification_objective(trained.model, trained.head, trained.normalise, labels)
    pixels = torch.cat(list(trained.measured_images.unaugmented(pick)))
    features: Tensor = trained.model(trained.normalise(fgsm(objective, pixels, EPSILON)))
    return features
