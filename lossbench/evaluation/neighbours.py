"""Nearest neighbours of features, for `knn` and `retrieval`.

Pure functions; the results do not depend on the order of operations, only on rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from lossbench.errors import NotFiniteError

Distance = Literal["cosine", "euclidean"]
BLOCK_SIZE = 2**22
"""Largest number of distances in memory at a time, except for those of a single query."""
_LOW_BITS = 2**32 - 1


def require_finite(features: Tensor, description: str) -> Tensor:
    """Features (N, D), if they are finite.

    Raises:
        NotFiniteError: A feature is not finite.
    """
    if not torch.isfinite(features).all():
        raise NotFiniteError(f"a feature of {description} is not a finite number")
    return features


def unit_vectors(features: Tensor) -> Tensor:
    """Features (N, D) in float64, divided by their norms; zero vectors remain zero."""
    features = features.double()
    # scaled first, because squares of tiny numbers underflow
    features = features / _positive(features.abs().amax(1, keepdim=True))
    return features / _positive(features.norm(dim=1, keepdim=True))


def nearest(
    queries: Tensor, gallery: Tensor, k: int, distance: Distance, *, leave_out_self: bool = False
) -> Iterator[Tensor]:
    """Nearest features of the gallery for blocks of queries.

    Of equally distant ones, the first in the gallery are the nearest. The cosine distance is
    1 - cos, and 1 for zero vectors. Distances are computed in float64 and compared in float32, in
    which those of equal features are equal.

    Args:
        queries: (N, D) Finite.
        gallery: (M, D) Finite; M < 2^32.
        k: Number of neighbours, in [1, M], or [1, M - 1] with `leave_out_self`.
        distance: Distance between features.
        leave_out_self: Whether query i is feature i of the gallery, which is left out.

    Yields:
        Indices (B, k) in the gallery for the next B queries, the nearest first.
    """
    if distance == "cosine":
        queries, gallery = unit_vectors(queries), unit_vectors(gallery)
    else:
        queries, gallery = queries.double(), gallery.double()
        centre = gallery.mean(0)  # the squares of features far from 0 would lose digits
        queries, gallery = queries - centre, gallery - centre
    squares = gallery.square().sum(1)  # (M,)
    places = torch.arange(len(gallery), device=gallery.device)
    start = 0
    for part in queries.split(max(BLOCK_SIZE // len(gallery), 1)):
        distances = part @ gallery.T  # (B, M)
        if distance == "cosine":
            distances.neg_().add_(1)
        else:
            distances.mul_(-2).add_(squares).add_(part.square().sum(1, keepdim=True))
        # one whole number for distance and place: the bits of floats >= 0 are in their order
        bits = distances.clamp_min_(0).float().view(torch.int32)
        keys = bits.long().bitwise_left_shift_(32).add_(places)
        if leave_out_self:
            rows = torch.arange(len(part), device=keys.device)
            keys[rows, start + rows] = torch.iinfo(torch.int64).max
        yield keys.topk(k, dim=1, largest=False).values & _LOW_BITS
        start += len(part)


def _positive(numbers: Tensor) -> Tensor:
    return torch.where(numbers > 0, numbers, 1.0)
