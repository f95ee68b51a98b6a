"""Numerically exact steps that several losses share."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def true_class_log_odds(scores: Tensor, labels: Tensor) -> Tensor:
    """Log-odds of the true class, log p_z - log(1 - p_z), with p the softmax of the scores.

    log-odds = s_z - log sum_{k != z} e^{s_k},  cross-entropy = softplus(-log-odds)

    1 - p_z is not computed as a difference, which would be mostly rounding where p_z is near 1.

    Args:
        scores: (N, K)
        labels: (N,), in [0, K).

    Returns:
        (N,)
    """
    index = labels[:, None]  # (N, 1)
    others = scores.scatter(1, index, -math.inf).logsumexp(1)  # (N,)
    return scores.gather(1, index).squeeze(1) - others  # (N,)


def true_class_error(log_odds: Tensor) -> Tensor:
    """Probability of all other classes together, 1 - p_z, exact where it is nearly 0 or nearly 1.

    So is its gradient, which is p_z (1 - p_z); that of `sigmoid` is computed from the rounded
    value, and is 0 where 1 - p_z rounds to 1.

    Args:
        log_odds: (N,) Log-odds of the true class.

    Returns:
        (N,)
    """
    return F.logsigmoid(-log_odds).exp()  # (N,)


def overflow_safe_scale(vectors: Tensor) -> Tensor:
    """A factor for each vector, without gradient, that keeps its squares representable.

    In float32, squares underflow to 0 below 1e-23 and overflow above 1e19. The factor is exactly
    1 for vectors whose largest component is between 1e-12 and 1e12.

    Args:
        vectors: (N, D)

    Returns:
        (N, 1)
    """
    largest = vectors.detach().abs().amax(1, keepdim=True)  # (N, 1)
    tiny = torch.finfo(largest.dtype).tiny
    scale = largest.clamp(tiny, 1 / tiny).reciprocal()  # (N, 1)
    return scale.masked_fill((largest > 1e-12) & (largest < 1e12), 1.0)


def unit_vectors(features: Tensor) -> Tensor:
    """x / ||x||; a zero vector becomes zero, without gradient.

    So does a vector whose norm is subnormal (below 1.2e-38 in float32): its gradient is of the
    order of 1 / ||x||, which its type cannot represent.

    Args:
        features: (N, D)

    Returns:
        (N, D)
    """
    scale = overflow_safe_scale(features)  # (N, 1), which changes no direction
    norm: Tensor = (features * scale).norm(dim=1, keepdim=True)  # (N, 1)
    # the product is repeated so that gradients are summed in the order, and with the bits, of the
    # plain quotient x / ||x||
    subnormal = norm <= scale * torch.finfo(norm.dtype).tiny
    return (features * scale) / norm.masked_fill(subnormal, math.inf)  # (N, D)
