"""What the angular losses share: features and class weights of unit length, and exact angles."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossbench.losses.base import LossHead, in_float32
from lossbench.losses.functional import unit_vectors


def half_angle_cos_sin(unit: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of half the angle between unit vectors, exact at 0 and at pi.

    |u + w| = 2 cos(theta / 2),  |u - w| = 2 sin(theta / 2)

    An arc cosine, or sqrt(1 - cos^2), loses half of the digits there, and its gradient is
    infinite. A zero vector has both at 1/2, as if nothing were known of it.

    Args:
        unit: (N, D)
        own: (N, D)

    Returns:
        (N,) and (N,)
    """
    return (unit + own).norm(dim=1) / 2, (unit - own).norm(dim=1) / 2


class AngularHead(LossHead):
    """Base of losses on scaled cosines whose true class has a margin.

    L = -1/N sum_i log[ e^(s r_i) / (e^(s r_i) + sum_{k != z_i} e^(s cos theta_ik)) ]

    Weights have no bias and start as Glorot's uniform ones; only their directions count.

    Args:
        num_classes: K.
        feature_dim: D.
        scale: s.
    """

    def __init__(self, num_classes: int, feature_dim: int, scale: float) -> None:
        super().__init__(num_classes, feature_dim)
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(num_classes, feature_dim))
        nn.init.xavier_uniform_(self.weight)

    @abstractmethod
    def margin_cosine(self, cos_half: Tensor, sin_half: Tensor) -> Tensor:
        """r (N,) from cos(theta / 2) and sin(theta / 2) of the true class."""

    @in_float32
    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        unit, directions = unit_vectors(features), unit_vectors(self.weight)
        own = directions.index_select(0, labels)  # (N, D)
        wanted = self.margin_cosine(*half_angle_cos_sin(unit, own))  # (N,)
        cosines = (unit @ directions.T).scatter(1, labels[:, None], wanted[:, None])  # (N, K)
        return {"cross_entropy": F.cross_entropy(self.scale * cosines, labels)}

    @in_float32
    def logits(self, features: Tensor) -> Tensor:
        return self.scale * unit_vectors(features) @ unit_vectors(self.weight).T  # (N, K)
