"""Center loss: softmax loss plus the squared distance of each feature to its class center."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, DensityHead, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.gaussian import log_density
from lossbench.losses.linear import LinearHead


def center_distance(features: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """Mean of 1/2 ||x_i - c_{z_i}||^2 over the batch, computed from differences.

    Args:
        features: (N, D)
        labels: (N,), in [0, K).
        centers: (K, D)

    Returns:
        Scalar.
    """
    summed = F.mse_loss(features, centers.index_select(0, labels), reduction="sum")
    return summed * (0.5 / len(labels))


def update_centers(features: Tensor, labels: Tensor, centers: Tensor, rate: float) -> None:
    """Move the centers of the batch's classes towards their features, in place.

    c_j -= rate * sum_i 1(z_i=j) (c_j - x_i) / (1 + sum_i 1(z_i=j))  (Wen et al., Eq. 4)

    Args:
        features: (N, D)
        labels: (N,), in [0, K).
        centers: (K, D); only the rows of classes in the batch change.
        rate: Learning rate of the centers, in [0, 1].
    """
    ones = torch.ones_like(labels, dtype=centers.dtype)
    count = torch.zeros_like(centers[:, 0]).index_add_(0, labels, ones)  # (K,)
    step = features - centers.index_select(0, labels)  # (N, D)
    step *= (rate / (1 + count.index_select(0, labels)))[:, None]
    centers.index_add_(0, labels, step.to(centers.dtype))


@LOSSES.register(
    "center",
    reference="Wen et al., ECCV 2016",
    title="Center loss",
    symbols={"weight": r"\lambda", "center_rate": r"\alpha"},
)
class CenterHead(ScoreHead, LinearHead, DensityHead):
    """Center loss: softmax loss plus the squared distance to the center of the true class.

    L = -1/N sum_i log softmax(W x_i + b)_{z_i} + weight/2 * 1/N sum_i ||x_i - c_{z_i}||^2

    The centers are buffers, not parameters: after each step of the optimizer, the center of each
    class in the batch moves towards the features of its class (Eq. 4). The density of class k is a
    Gaussian with mean c_k and identity covariance.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        weight: Weight of the center term, >= 0. 0 gives the softmax loss.
        center_rate: Learning rate of the centers, in [0, 1].

    Terms:
        cross_entropy: Mean cross-entropy of the batch.
        center: `weight` times half the mean squared distance to the center of the true class.

    Reference:
        Wen, Zhang, Li, Qiao: A Discriminative Feature Learning Approach for Deep Face
        Recognition. ECCV 2016.

    Deviations:
        - The mean over the batch instead of the paper's sum, so that the weight does not depend
          on the batch size; the released code divides, too.
        - Centers start at 0, because the paper does not specify their initialisation.
        - The centers are updated after the weights, from the features computed before that step,
          because the features of the new weights would cost another pass.
    """

    centers: Tensor

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        weight: Annotated[float, Field(ge=0)] = 0.003,
        center_rate: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.weight = weight
        self.center_rate = center_rate
        self.register_buffer("centers", torch.zeros(num_classes, feature_dim))

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.linear(features)  # (N, K)
        terms = {
            "cross_entropy": F.cross_entropy(scores, labels),
            "center": self.weight * center_distance(features, labels, self.centers),
        }
        return terms, scores

    @in_float32
    def class_log_density(self, features: Tensor) -> Tensor:
        return log_density(features, self.centers)  # (N, K)

    @property
    def class_means(self) -> Tensor:
        return self.centers

    @torch.no_grad()
    def after_step(self, features: Tensor, labels: Tensor) -> None:
        update_centers(features, labels, self.centers, self.center_rate)
