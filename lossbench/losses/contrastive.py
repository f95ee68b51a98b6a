"""Contrastive loss: pairs of the same class attract, other pairs repel up to a margin."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES
from lossbench.losses.joint import EmbeddingLossHead
from lossbench.losses.pairs import pair_loss


def contrastive(embeddings: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Mean of 1/2 d^2 over same-class pairs + mean of 1/2 max(0, margin - d)^2 over other pairs.

    Args:
        embeddings: (N, D)
        labels: (N,)
        margin: Distance up to which two classes repel each other, > 0.

    Returns:
        Scalar. A mean over no pairs is 0.
    """
    return pair_loss(embeddings, labels, partial(contrastive_from_distances, margin=margin))


def contrastive_from_distances(
    squared: Tensor, labels: Tensor, *, margin: float
) -> tuple[Tensor, Tensor]:
    """Contrastive loss from squared distances, and its gradient.

    Args:
        squared: (N, N) Squared distances, with each pair twice.
        labels: (N,)
        margin: Distance up to which two classes repel each other, > 0.

    Returns:
        Scalar; and its gradient with respect to the squared distances, (N, N).
    """
    same = labels[:, None] == labels  # (N, N)
    alike, n = same.sum(dtype=squared.dtype), len(labels)
    same_weight, other_weight = 0.5 / (alike - n).clamp_min(1), 0.5 / (n * n - alike).clamp_min(1)
    distance = squared.sqrt()
    gap = F.relu(margin - distance)
    value = torch.where(same, squared * same_weight, gap.square() * other_weight).sum()
    slope = gap.div_(distance.masked_fill_(distance == 0, math.inf)).mul_(-other_weight)
    return value, torch.where(same, same_weight, slope)


@LOSSES.register(
    "contrastive",
    reference="Hadsell et al., CVPR 2006; Sun et al., NIPS 2014",
    title="Contrastive loss",
    symbols={"weight": r"\lambda", "margin": "m"},
)
class ContrastiveHead(EmbeddingLossHead):
    """Contrastive loss on all pairs of a batch, added to the softmax loss.

    L = softmax_weight * cross-entropy
        + weight * ( mean over pairs with z_i = z_j  of 1/2 d_ij^2
                   + mean over pairs with z_i != z_j of 1/2 max(0, margin - d_ij)^2 )
    d_ij = ||x_i - x_j||

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        weight: Weight of the contrastive term, >= 0.
        margin: Distance up to which two classes repel each other, > 0.
        softmax_weight: Weight of the softmax term, >= 0. 0 gives the pure form: no linear layer,
            classification by the nearest class mean.
        samples_per_class: Number of images in each group of one class in a batch, >= 2.

    Terms:
        contrastive: `weight` times the sum of the two means.
        cross_entropy: `softmax_weight` times the mean cross-entropy; absent in the pure form.

    Raises:
        ParameterError: Both weights are 0.

    Reference:
        Hadsell, Chopra, LeCun: Dimensionality Reduction by Learning an Invariant Mapping.
        CVPR 2006. Sum with the softmax loss: Sun, Chen, Wang, Tang: Deep Learning Face
        Representation by Joint Identification-Verification (DeepID2). NIPS 2014 (weight 0.05).

    Deviations:
        - All pairs of a batch are used, because their distances are computed together; the papers
          draw pairs beforehand. Each batch has several images per class.
        - Positive and negative pairs are averaged separately, because a batch has far more
          negative pairs, which would dominate a single mean, the more so with more classes.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        weight: Annotated[float, Field(ge=0)] = 0.05,
        margin: Annotated[float, Field(gt=0)] = 1.0,
        softmax_weight: Annotated[float, Field(ge=0)] = 1.0,
        samples_per_class: Annotated[int, Field(ge=2)] = 4,
    ) -> None:
        super().__init__(
            num_classes,
            feature_dim,
            "contrastive",
            weight=weight,
            softmax_weight=softmax_weight,
            samples_per_class=samples_per_class,
        )
        self.margin = margin

    def embedding_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return contrastive(embeddings, labels, self.margin)
