"""Steps that the losses with Gaussian classes share: scores, distances, densities.

Nothing here ever holds N x K x D numbers. `log_variance` None stands for Lambda_k = I.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FEW_DIMENSIONS = 4
"""Up to here `labelled_scores` works dimension by dimension, which is as fast and more exact."""


def class_scores(features: Tensor, means: Tensor, log_variance: Tensor | None = None) -> Tensor:
    """Log-densities up to what is common to all classes: enough for a posterior.

    s_k = log N(x; mu_k, Lambda_k) + c(x)

    The square is expanded, so that matrix products do the work. Two measures keep the digits
    that an expansion loses: features and means are counted from the centre of the means, and the
    part of x^2 that all classes share is left out. An error of eps times the largest distance
    from that centre remains.

    Args:
        features: (N, D)
        means: (K, D)
        log_variance: (K, D), the logarithm of the diagonal of Lambda_k.

    Returns:
        (N, K)
    """
    x, mu = _centre(features, means)
    if log_variance is None:
        return torch.addmm(-0.5 * mu.square().sum(1), x, mu.T)  # (N, K)
    precision = torch.exp(-log_variance)  # (K, D)
    weighted = precision * mu
    own_precision = precision - precision.detach().mean(0)  # the rest of x^2 is common
    constant = -0.5 * (log_variance + weighted * mu).sum(1)  # (K,)
    linear = torch.addmm(constant, x, weighted.T)  # (N, K)
    return torch.addmm(linear, x.square(), own_precision.T, alpha=-0.5)  # (N, K)


def labelled_scores(
    features: Tensor, labels: Tensor, means: Tensor, log_variance: Tensor | None = None
) -> Tensor:
    """Return the same as `class_scores`, up to the choice of c(x), knowing the true class.

    In few dimensions classes crowd: two may be neighbours and both far from the centre, where
    the difference of their scores is mostly rounding. So there it is composed of differences,
    and counted from the true class: c(x) = -s_z.

    Args:
        features: (N, D)
        labels: (N,)
        means: (K, D)
        log_variance: (K, D)

    Returns:
        (N, K)
    """
    if features.shape[1] > FEW_DIMENSIONS:
        return class_scores(features, means, log_variance)  # (N, K)
    scores = features.new_zeros(())
    for d in range(features.shape[1]):
        mu = means[:, d]  # (K,)
        own_mu = mu[labels, None]  # (N, 1)
        x, other = features[:, d, None] - own_mu, mu - own_mu  # (N, 1), (N, K), from mu_z
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
    """d_z = 1/2 (x - mu_z)^T Lambda_z^-1 (x - mu_z) of each sample's own class (Eq. 18).

    A plain difference, as exact as the features are, and never negative.

    Args:
        features: (N, D)
        labels: (N,)
        means: (K, D)
        log_variance: (K, D)

    Returns:
        (N,)
    """
    squared = (features - means[labels]).square()  # (N, D)
    if log_variance is not None:
        squared = squared * torch.exp(-log_variance[labels])
    return 0.5 * squared.sum(1)


def log_density(features: Tensor, means: Tensor, log_variance: Tensor | None = None) -> Tensor:
    """Log N(x; mu_k, Lambda_k) with all its constants.

    Here nothing cancels between classes, so the expansion runs in float64 and the result is
    cast back to the type of the features.

    Args:
        features: (N, D)
        means: (K, D)
        log_variance: (K, D)

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
    # rounding may leave a zero distance at -1e-13, and no density is above its own mode
    return (-0.5 * (constant + log_determinant) - distance.clamp_min(0)).to(features.dtype)


def _centre(features: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    """Count from the centre of the means. Changes no distance, so it needs no gradient."""
    centre = means.detach().mean(0)
    return features - centre, means - centre
