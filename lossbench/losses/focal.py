"""Focal loss: cross-entropy that gives less weight to well-classified images."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, in_float32
from lossbench.losses.functional import true_class_log_odds
from lossbench.losses.linear import LinearHead


def focal(scores: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Mean of -(1 - p_z)^gamma log p_z, smooth and exact even where p_z is nearly 1.

    With the log-odds l = log p_z - log(1 - p_z): -log p_z = softplus(-l) and
    -log(1 - p_z) = softplus(l).

    Args:
        scores: (N, K)
        labels: (N,), in [0, K).
        gamma: Focusing parameter, >= 0.

    Returns:
        Scalar.
    """
    log_odds = true_class_log_odds(scores, labels)  # (N,)
    # -log p_z * e^(gamma log(1 - p_z))
    return (F.softplus(-log_odds) * (-gamma * F.softplus(log_odds)).exp()).mean()


@LOSSES.register(
    "focal", reference="Lin et al., ICCV 2017", title="Focal loss", symbols={"gamma": r"\gamma"}
)
class FocalHead(LinearHead):
    """Focal loss: the better an image is classified, the less it counts.

    L = -1/N sum_i (1 - p_i)^gamma log p_i
    p_i = softmax(W x_i + b)_{z_i}

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        gamma: Focusing parameter, in [0, 100]. 0 gives the softmax loss.

    Terms:
        focal: Mean of the loss over the batch.

    Reference:
        Lin, Goyal, Girshick, He, Dollar: Focal Loss for Dense Object Detection. ICCV 2017.

    Deviations:
        - p is the softmax posterior instead of a sigmoid per class, because each image has
          exactly one class.
        - No alpha, because with equal class weights it would only scale the loss.
        - The mean over the batch, because classification has no anchors to count; the paper
          divides by the number of anchors assigned to an object.
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
