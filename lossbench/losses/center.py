"""Center loss: softmax, and a pull of every feature towards the center of its class."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, DensityHead, in_float32
from lossbench.losses.gaussian import log_density
from lossbench.losses.linear import LinearHead


def center_distance(features: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """1/2 ||x_i - c_{z_i}||^2, averaged over the batch; a plain difference.

    Args:
        features: (N, D)
        labels: (N,)
        centers: (K, D)

    Returns:
        Scalar.
    """
    summed = F.mse_loss(features, centers.index_select(0, labels), reduction="sum")
    return summed * (0.5 / len(labels))


def update_centers(features: Tensor, labels: Tensor, centers: Tensor, rate: float) -> None:
    """c_j -= rate * sum_i 1(z_i=j) (c_j - x_i) / (1 + sum_i 1(z_i=j)) (Wen et al., Eq. 4).

    In place; only the rows of classes that are in the batch are touched.

    Args:
        features: (N, D)
        labels: (N,)
        centers: (K, D)
        rate: In [0, 1].
    """
    ones = torch.ones_like(labels, dtype=centers.dtype)
    count = torch.zeros_like(centers[:, 0]).index_add_(0, labels, ones)  # (K,)
    step = features - centers.index_select(0, labels)  # (N, D)
    step *= (rate / (1 + count.index_select(0, labels)))[:, None]
    centers.index_add_(0, labels, step.to(centers.dtype))


@LOSSES.register("center", reference="Wen et al., ECCV 2016")
class CenterHead(LinearHead, DensityHead):
    """Center loss: softmax cross-entropy plus the distance to the center of the own class.

    L = -1/N sum_i log softmax(W x_i + b)_{z_i} + weight/2 * 1/N sum_i ||x_i - c_{z_i}||^2

    The centers are no parameters: after each step of the optimizer they move by `center_rate`
    times the mean difference to the features of their class. As a density, class k is a
    Gaussian with identity covariance around c_k.

    Args:
        num_classes: K.
        feature_dim: D.
        weight: Of the center term, >= 0. 0 is the softmax loss.
        center_rate: Part of the way that the centers move at each step, in [0, 1].

    Terms:
        cross_entropy: The mean over the batch.
        center: weight times half the mean squared distance.

    Reference:
        Wen, Zhang, Li, Qiao: A Discriminative Feature Learning Approach for Deep Face
        Recognition. ECCV 2016.

    Deviations:
        - The mean over the batch, where the paper has the sum (its code divides too): the weight
          does not depend on the batch size.
        - Centers start at 0; the paper does not say where.
        - The centers move after the weights did, by the features from before that step.
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
    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {
            "cross_entropy": F.cross_entropy(self.linear(features), labels),
            "center": self.weight * center_distance(features, labels, self.centers),
        }

    @in_float32
    def class_log_density(self, features: Tensor) -> Tensor:
        return log_density(features, self.centers)  # (N, K)

    @property
    def class_means(self) -> Tensor:
        return self.centers

    @torch.no_grad()
    def after_step(self, features: Tensor, labels: Tensor) -> None:
        update_centers(features, labels, self.centers, self.center_rate)
