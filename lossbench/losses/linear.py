"""Base of the losses whose class scores are a linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from lossbench.losses.base import LossHead, in_float32


class LinearHead(LossHead):
    """Base of losses whose class scores are f = W x + b.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        bias: Whether there is a b; without it f = W x.
    """

    def __init__(self, num_classes: int, feature_dim: int, *, bias: bool = True) -> None:
        super().__init__(num_classes, feature_dim)
        self.linear = nn.Linear(feature_dim, num_classes, bias=bias)

    @in_float32
    def logits(self, features: Tensor) -> Tensor:
        scores: Tensor = self.linear(features)  # (N, K)
        return scores
