"""Base of the losses on angles between features and class weights."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossbench.losses.base import ScoreHead, TermsAndScores, in_float32
from lossbench.losses.functional import unit_vectors


def half_angle_cos_sin(unit: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of half the angle between unit vectors, exact even at angles 0 and pi.

    |u + w| = 2 cos(theta / 2),  |u - w| = 2 sin(theta / 2)

    The arc cosine and sqrt(1 - cos^2) lose half of their digits there, and their gradients are
    infinite. For a zero vector, both results are 1/2.

    Args:
        unit: (N, D) Features of unit length.
        own: (N, D) Weights of their true classes, of unit length.

    Returns:
        cos(theta / 2), (N,), and sin(theta / 2), (N,).
    """
    return (unit + own).norm(dim=1) / 2, (unit - own).norm(dim=1) / 2


class AngularHead(ScoreHead):
    """Base of losses on scaled cosines with a margin on the true class.

    L = -1/N sum_i log[ e^(s r_i) / (e^(s r_i) + sum_{k != z_i} e^(s cos theta_ik)) ]

    r_i is the cosine of the true class with the margin of the loss. There is no bias. Class
    weights are initialised Glorot-uniform; only their directions count.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        scale: s, > 0.
    """

    def __init__(self, num_classes: int, feature_dim: int, scale: float) -> None:
        super().__init__(num_classes, feature_dim)
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(num_classes, feature_dim))
        nn.init.xavier_uniform_(self.weight)

    @abstractmethod
    def margin_cosine(self, cos_half: Tensor, sin_half: Tensor) -> Tensor:
        """Cosine of the true class with margin, r (N,).

        Args:
            cos_half: (N,) cos(theta / 2)
            sin_half: (N,) sin(theta / 2)
        """

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        unit, directions = unit_vectors(features), unit_vectors(self.weight)
        own = directions.index_select(0, labels)  # (N, D)
        wanted = self.margin_cosine(*half_angle_cos_sin(unit, own))  # (N,)
        cosines = unit @ directions.T  # (N, K)
        with_margin = cosines.scatter(1, labels[:, None], wanted[:, None])  # (N, K)
        loss = F.cross_entropy(self.scale * with_margin, labels)
        return {"cross_entropy": loss}, self.scale * cosines.detach()

    @in_float32
    def logits(self, features: Tensor) -> Tensor:
        return self.scale * unit_vectors(features) @ unit_vectors(self.weight).T  # (N, K)
