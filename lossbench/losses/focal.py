"""Focal loss: softmax that turns away from what is known already."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, in_float32
from lossbench.losses.functional import true_class_log_odds
from lossbench.losses.linear import LinearHead


def focal(scores: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Mean of -(1 - p_z)^gamma log p_z, smooth and exact also where p_z is nearly 1.

    By the lead l = log p_z - log(1 - p_z): -log p_z = softplus(-l), -log(1 - p_z) = softplus(l).

    Args:
        scores: (N, K)
        labels: (N,)
        gamma: >= 0

    Returns:
        Scalar.
    """
    log_odds = true_class_log_odds(scores, labels)  # (N,)
    return (F.softplus(-log_odds) * (-gamma * F.softplus(log_odds)).exp()).mean()


@LOSSES.register("focal", reference="Lin et al., ICCV 2017")
class FocalHead(LinearHead):
    """Focal loss: cross-entropy, each image weighted by how little of it is known.

    L = -1/N sum_i (1 - p_i)^gamma log p_i
    p_i = softmax(W x_i + b)_{z_i}

    Args:
        num_classes: K.
        feature_dim: D.
        gamma: >= 0. 0 is the softmax loss.

    Terms:
        focal: The mean over the batch.

    Reference:
        Lin, Goyal, Girshick, He, Dollar: Focal Loss for Dense Object Detection. ICCV 2017.

    Deviations:
        - The softmax's p in place of a sigmoid for each class: an image has one class here.
        - No alpha: for classes of equal weight it would only scale the loss.
        - The mean over the batch; the paper divides by the number of objects.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        gamma: Annotated[float, Field(ge=0, le=100)] = 2.0,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.gamma = gamma

    @in_float32
    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"focal": focal(self.linear(features), labels, self.gamma)}
