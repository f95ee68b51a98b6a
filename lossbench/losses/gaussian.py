"""Scores, distances and densities of Gaussian classes, for `lgm` and `center`.

No intermediate tensor has N x K x D numbers. `log_variance` None means Lambda_k = I.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FEW_DIMENSIONS = 4
"""Largest D for which `labelled_scores` loops over the dimensions: as fast, and more accurate."""


def class_scores(features: Tensor, means: Tensor, log_variance: Tensor | None = None) -> Tensor:
    """Log-densities up to a term common to all classes, which the posterior does not depend on.

    s_k = log N(x; mu_k, Lambda_k) + c(x)

    The square is expanded into matrix products. To limit cancellation, features and means are
    centred on the mean of the means, and the part of x^2 that all classes share is left out. The
    remaining error is eps times the largest distance from that centre.

    Args:
        features: (N, D)
        means: (K, D)
        log_variance: (K, D) Logarithm of the diagonal of Lambda_k.

    Returns:
        (N, K)
    """
    x, mu = _centre(features, means)
    if log_variance is None:
        return torch.addmm(-0.5 * mu.square().sum(1), x, mu.T)  # (N, K)
    precision = torch.exp(-log_variance)  # (K, D)
    weighted = precision * mu
    excess_precision = precision - precision.detach().mean(0)  # without the part common to all
    constant = -0.5 * (log_variance + weighted * mu).sum(1)  # (K,)
    linear = torch.addmm(constant, x, weighted.T)  # (N, K)
    return torch.addmm(linear, x.square(), excess_precision.T, alpha=-0.5)  # (N, K)


def labelled_scores(
    features: Tensor, labels: Tensor, means: Tensor, log_variance: Tensor | None = None
) -> Tensor:
    """Scores as in `class_scores`, but relative to the score of the true class in few dimensions.

    In few dimensions, two classes may be close to each other and far from the centre of the
    means, where the difference of their scores would be mostly rounding. There, the scores are
    computed from differences relative to the true class: c(x) = -s_z.

    Args:
        features: (N, D)
        labels: (N,), in [0, K).
        means: (K, D)
        log_variance: (K, D) Logarithm of the diagonal of Lambda_k.

    Returns:
        (N, K)
    """
    if features.shape[1] > FEW_DIMENSIONS:
        return class_scores(features, means, log_variance)  # (N, K)
    scores = features.new_zeros(())
    for d in range(features.shape[1]):
        mu = means[:, d]  # (K,)
        true_mu = mu[labels, None]  # (N, 1)
        x, other = features[:, d, None] - true_mu, mu - true_mu  # (N, 1), (N, K), relative to mu_z
        if log_variance is None:
            scores = scores + other * (x - 0.5 * other)
        else:
            log_v = log_variance[:, d]  # (K,)
            precision = torch.exp(-log_v)
            surplus = precision - precision[labels, None]  # (N, K)
            distance = surplus * x.square() + precision * other * (other - 2 * x)  # 2 (d_k - d_z)
            scores = scores - 0.5 * (distance + log_v - log_v[labels, None])
    return scores


def true_class_distance(
    features: Tensor, labels: Tensor, means: Tensor, log_variance: Tensor | None = None
) -> Tensor:
    """d_z = 1/2 (x - mu_z)^T Lambda_z^-1 (x - mu_z) of each sample's true class (Eq. 18).

    Computed from differences: as exact as the features, and never negative.

    Args:
        features: (N, D)
        labels: (N,), in [0, K).
        means: (K, D)
        log_variance: (K, D) Logarithm of the diagonal of Lambda_k.

    Returns:
        (N,)
    """
    squared = (features - means[labels]).square()  # (N, D)
    if log_variance is not None:
        squared = squared * torch.exp(-log_variance[labels])
    return 0.5 * squared.sum(1)


def log_density(features: Tensor, means: Tensor, log_variance: Tensor | None = None) -> Tensor:
    """Log N(x; mu_k, Lambda_k), including all constants.

    Common terms do not cancel here, so the expansion is computed in float64 and the result is
    converted to the type of the features.

    Args:
        features: (N, D)
        means: (K, D)
        log_variance: (K, D) Logarithm of the diagonal of Lambda_k.

    Returns:
        (N, K)
    """
    x, mu = _centre(features.double(), means.double())
    log_variance = torch.zeros_like(mu) if log_variance is None else log_variance.double()
    precision = torch.exp(-log_variance)  # (K, D)
    weighted = precision * mu
    distance = 0.5 * (x.square() @ precision.T + (weighted * mu).sum(1)) - x @ weighted.T  # (N, K)
    log_determinant = log_variance.sum(1)  # (K,)
    constant = features.shape[1] * math.log(2 * math.pi)
    # rounding may give -1e-13 for a distance of 0, and no density exceeds its mode
    return (-0.5 * (constant + log_determinant) - distance.clamp_min(0)).to(features.dtype)


def _centre(features: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    """Features and means relative to the mean of the means.

    The mean is detached: distances do not depend on it.
    """
    centre = means.detach().mean(0)
    return features - centre, means - centre
