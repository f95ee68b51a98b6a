"""Focal loss: cross-entropy that gives less weight to well-classified images."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.class_counts import (
    DEFAULT_BETA,
    ClassWeights,
    EffectiveNumberBeta,
    WeightedLinearHead,
)
from lossbench.losses.functional import true_class_log_odds
from lossbench.registry import OMIT_DEFAULT


def focal(
    scores: Tensor, labels: Tensor, gamma: float, class_weight: Tensor | None = None
) -> Tensor:
    """Mean of -w_z (1 - p_z)^gamma log p_z, smooth and exact even where p_z is nearly 1.

    With the log-odds l = log p_z - log(1 - p_z): -log p_z = softplus(-l) and
    -log(1 - p_z) = softplus(l).

    Args:
        scores: (N, K)
        labels: (N,), in [0, K).
        gamma: Focusing parameter, >= 0.
        class_weight: (K,) None for equal weights.

    Returns:
        Scalar.
    """
    log_odds = true_class_log_odds(scores, labels)  # (N,)
    # -log p_z * e^(gamma log(1 - p_z))
    losses = F.softplus(-log_odds) * (-gamma * F.softplus(log_odds)).exp()  # (N,)
    if class_weight is not None:
        losses = class_weight.index_select(0, labels) * losses
    return losses.mean()


@LOSSES.register(
    "focal",
    reference="Lin et al., ICCV 2017",
    title="Focal loss",
    symbols={"gamma": r"\gamma", "class_balanced_beta": r"\beta"},
)
class FocalHead(ScoreHead, WeightedLinearHead):
    """Focal loss: the better an image is classified, the less it counts.

    L = -1/N sum_i w_{z_i} (1 - p_i)^gamma log p_i
    p_i = softmax(W x_i + b)_{z_i}

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        gamma: Focusing parameter, in [0, 100]. 0 gives the softmax loss.
        class_weights: w, the paper's alpha, by which the losses of the images of each class are
            multiplied. `balanced`: n / (K n_k), where n_k of the n training images are of
            class k. `class_balanced`: proportional to (1 - beta) / (1 - beta^n_k), with sum K
            (Cui et al., CVPR 2019). Or a list of the K weights, in (0, 1e6]. Null: 1 for each
            class.
        class_balanced_beta: beta of `class_balanced`, in [0, 1). 0 gives equal weights.

    Terms:
        focal: Mean of the weighted loss over the batch.

    Reference:
        Lin, Goyal, Girshick, He, Dollar: Focal Loss for Dense Object Detection. ICCV 2017.

    Deviations:
        - p is the softmax posterior instead of a sigmoid per class, because each image has
          exactly one class.
        - The paper's alpha has one weight for objects and one for the background; here there is
          one weight for each class.
        - The mean over the batch, because classification has no anchors to count; the paper
          divides by the number of anchors assigned to an object.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        gamma: Annotated[float, Field(ge=0, le=100)] = 2.0,
        class_weights: Annotated[ClassWeights, OMIT_DEFAULT] = None,
        class_balanced_beta: Annotated[EffectiveNumberBeta, OMIT_DEFAULT] = DEFAULT_BETA,
    ) -> None:
        super().__init__(
            num_classes,
            feature_dim,
            "focal",
            class_weights=class_weights,
            class_balanced_beta=class_balanced_beta,
        )
        self.gamma = gamma

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.linear(features)  # (N, K)
        weights = self.weight_of_classes()
        return {"focal": focal(scores, labels, self.gamma, weights)}, scores
