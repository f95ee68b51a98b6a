"""Softmax cross-entropy, the reference row of the shipped suites."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, in_float32
from lossbench.losses.linear import LinearHead


@LOSSES.register("softmax", reference="Wan et al., CVPR 2018, Eqs. 1-2", title="Softmax")
class SoftmaxHead(LinearHead):
    """Softmax loss: a linear layer and cross-entropy.

    L = -1/N sum_i log softmax(W x_i + b)_{z_i}

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.

    Terms:
        cross_entropy: Mean cross-entropy of the batch.

    Reference:
        Wan, Zhong, Li, Chen: Rethinking Feature Distribution for Loss Functions in Image
        Classification. CVPR 2018, Eqs. 1-2.

    Deviations: none.
    """

    def __init__(self, num_classes: int, feature_dim: int) -> None:
        super().__init__(num_classes, feature_dim)  # `bias` is not a parameter of this loss

    @in_float32
    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"cross_entropy": F.cross_entropy(self.linear(features), labels)}
