"""Softmax cross-entropy, the reference of every table."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, LossHead, in_float32


@LOSSES.register("softmax", reference="Wan et al., CVPR 2018, Eqs. 1-2")
class SoftmaxHead(LossHead):
    """Softmax loss: a linear layer and cross-entropy.

    L = -1/N sum_i log softmax(W x_i + b)_{z_i}

    Terms:
        cross_entropy: The mean over the batch.

    Deviations: none.
    """

    def __init__(self, num_classes: int, feature_dim: int) -> None:
        super().__init__(num_classes, feature_dim)
        self.linear = nn.Linear(feature_dim, num_classes)

    @in_float32
    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"cross_entropy": F.cross_entropy(self.linear(features), labels)}

    @in_float32
    def logits(self, features: Tensor) -> Tensor:
        scores: Tensor = self.linear(features)  # (N, K)
        return scores
