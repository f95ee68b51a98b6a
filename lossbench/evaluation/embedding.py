"""Two-dimensional features as the report draws them (Fig. 1 of the L-GM paper)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lossbench.losses import DensityHead, LossHead

MAX_POINTS = 5000
GRID_SIZE = 160


@torch.no_grad()
def embedding(head: LossHead, features: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """A sample of the training set's features, class means, and the density on a grid.

    Args:
        head: The trained head.
        features: (N, 2) of the training set.
        labels: (N,)

    Returns:
        `features` (M, 2) and `labels` (M,), at most 5,000; `class_means` (K, 2), the head's
        own or else the features'; for a density head also `grid_x` (G,), `grid_y` (G,) and
        `log_density` (G, G), row = y: log of the mixture with equal priors.
    """
    pick = torch.linspace(0, len(labels) - 1, min(MAX_POINTS, len(labels))).round().long()
    shown = features[pick.to(features.device)]
    kept = {"features": shown, "labels": labels[pick.to(labels.device)]}
    if not isinstance(head, DensityHead):
        sums = features.new_zeros(head.num_classes, 2).index_add_(0, labels, features)
        counts = torch.bincount(labels, minlength=head.num_classes).clamp_min(1)
        kept["class_means"] = sums / counts[:, None]
        return {name: value.cpu().numpy() for name, value in kept.items()}

    kept["class_means"] = head.class_means
    low, high = shown.amin(0), shown.amax(0)  # (2,)
    middle, reach = (low + high) / 2, float((high - low).max()) * 0.6 + 1e-6
    x, y = (
        torch.linspace(float(m) - reach, float(m) + reach, GRID_SIZE, device=features.device)
        for m in middle
    )  # a square a little larger than the points
    points = torch.cartesian_prod(y, x).flip(1)  # (G * G, 2) as (x, y), row = y
    log_mixture = head.class_log_density(points).logsumexp(1) - math.log(head.num_classes)
    kept |= {"grid_x": x, "grid_y": y, "log_density": log_mixture.reshape(GRID_SIZE, GRID_SIZE)}
    return {name: value.cpu().numpy() for name, value in kept.items()}
