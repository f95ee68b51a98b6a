"""Triplet loss: each anchor should be nearer to its own class than to others, by a margin."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES
from lossbench.losses.functional import unit_vectors
from lossbench.losses.joint import EmbeddingLossHead
from lossbench.losses.pairs import pair_loss

Mining = Literal["all", "semi_hard", "batch_hard"]


def all_triplets(
    distance: Tensor, positive: Tensor, negative: Tensor, margin: float
) -> tuple[Tensor, Tensor]:
    """Mean of max(0, d_ap - d_an + margin) over all triplets, by sorting: O(N^2 log N).

    Args:
        distance: (N, N) Squared distances.
        positive: (N, N) Whether two images are distinct and of the same class.
        negative: (N, N) Whether two images are of different classes.
        margin: Margin between squared distances, >= 0.

    Returns:
        Scalar, 0 if there is no triplet; and its gradient with respect to the squared distances,
        (N, N).
    """
    exact = distance.double()  # differences of large sums follow
    limit = exact + margin
    sorted_negative = exact.masked_fill(~negative, math.inf).sort(1).values
    sorted_limit = limit.masked_fill(~positive, math.inf).sort(1).values
    # numbers of negatives with hinge > 0 per positive, and of positives with hinge 0 per negative
    num_hinges = torch.searchsorted(sorted_negative, limit)  # (N, N)
    num_below = torch.searchsorted(sorted_limit, exact, right=True)  # (N, N)
    sums = F.pad(sorted_negative.masked_fill_(sorted_negative == math.inf, 0.0).cumsum(1), (1, 0))
    hinges = num_hinges * limit - sums.gather(1, num_hinges)
    num_positives = positive.sum(1, keepdim=True)  # (N, 1)
    num_negatives = negative.sum(1, keepdim=True)  # (N, 1)
    count = (num_positives * num_negatives).sum(dtype=exact.dtype).clamp_min(1)
    gradient = (num_hinges * positive - (num_positives - num_below) * negative) / count
    value = hinges.masked_fill_(~positive, 0.0).sum() / count
    return value.to(distance.dtype), gradient.to(distance.dtype)


def semi_hard(
    distance: Tensor, positive: Tensor, negative: Tensor, margin: float
) -> tuple[Tensor, Tensor]:
    """Loss on one triplet per anchor and positive.

    Its negative is the nearest one that is farther away than the positive; without any, the
    farthest of all. Arguments and return values are those of `all_triplets`.
    """
    ordered, column = distance.masked_fill(~negative, math.inf).sort(1)
    num_negatives = negative.sum(1, keepdim=True)  # (N, 1)
    place = torch.searchsorted(ordered, distance, right=True)  # of the first farther one
    place = torch.minimum(place, num_negatives - 1).clamp_min_(0)
    valid = positive & (num_negatives > 0)
    hinge = F.relu(distance - ordered.gather(1, place) + margin).masked_fill_(~valid, 0.0)
    count = valid.sum().clamp_min(1)
    gradient = (hinge > 0).to(distance.dtype).div_(count)
    chosen = column.gather(1, place)  # (N, N)
    return hinge.sum() / count, gradient.scatter_add(1, chosen, -gradient)


def batch_hard(
    distance: Tensor, positive: Tensor, negative: Tensor, margin: float
) -> tuple[Tensor, Tensor]:
    """Loss on one triplet per anchor: its farthest positive and its nearest negative.

    Arguments and return values are those of `all_triplets`.
    """
    farthest, hardest_positive = distance.masked_fill(~positive, -1.0).max(1, keepdim=True)
    nearest, hardest_negative = distance.masked_fill(~negative, math.inf).min(1, keepdim=True)
    valid = positive.any(1, keepdim=True) & negative.any(1, keepdim=True)
    hinge = F.relu(farthest - nearest + margin).masked_fill_(~valid, 0.0)
    count = valid.sum().clamp_min(1)
    step = (hinge > 0).to(distance.dtype).div_(count)
    gradient = torch.zeros_like(distance).scatter_(1, hardest_positive, step)
    return hinge.sum() / count, gradient.scatter_add_(1, hardest_negative, -step)


MINING = {"all": all_triplets, "semi_hard": semi_hard, "batch_hard": batch_hard}
"""Mining strategy -> loss on the triplets that it selects."""


def triplet(embeddings: Tensor, labels: Tensor, margin: float, mining: Mining) -> Tensor:
    """Triplet loss of a batch.

    Args:
        embeddings: (N, D)
        labels: (N,)
        margin: Margin between squared distances, >= 0.
        mining: Strategy that selects the triplets, a key of `MINING`.

    Returns:
        Scalar, 0 if there is no triplet.
    """

    def rule(distance: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        same = labels[:, None] == labels  # (N, N)
        return MINING[mining](distance, same.clone().fill_diagonal_(False), ~same, margin)

    return pair_loss(embeddings, labels, rule)


@LOSSES.register(
    "triplet",
    reference="Schroff et al., CVPR 2015",
    title="Triplet loss",
    symbols={"margin": r"\alpha"},
)
class TripletHead(EmbeddingLossHead):
    """Triplet loss on the triplets of a batch, added to the softmax loss.

    L = softmax_weight * cross-entropy
        + weight * mean over triplets of max(0, ||x_a - x_p||^2 - ||x_a - x_n||^2 + margin)

    for anchors a, positives p != a of the same class, and negatives n of another class.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        weight: Weight of the triplet term, >= 0.
        margin: Margin between squared distances, >= 0.
        softmax_weight: Weight of the softmax term, >= 0. 0 gives the pure form: no linear layer,
            classification by the nearest class mean.
        mining: Strategy that selects the triplets. `all`: all of them; `semi_hard`: for each anchor
            and positive, the nearest negative that is farther than the positive; `batch_hard`: for
            each anchor, the farthest positive and the nearest negative.
        normalize: Whether features are scaled to unit length for this term; the softmax term uses
            them unscaled.
        samples_per_class: Number of images in each group of one class in a batch, >= 2.

    Terms:
        triplet: `weight` times the mean over the triplets.
        cross_entropy: `softmax_weight` times the mean cross-entropy; absent in the pure form.

    Raises:
        ParameterError: Both weights are 0.

    Reference:
        Schroff, Kalenichenko, Philbin: FaceNet. CVPR 2015 (margin 0.2). Batch hard: Hermans,
        Beyer, Leibe: In Defense of the Triplet Loss for Person Re-Identification. 2017.

    Deviations:
        - The mean over all selected triplets, including those without loss, instead of FaceNet's
          sum, so that the weight does not depend on the batch and the gradient vanishes as
          triplets are solved.
        - Semi-hard: FaceNet specifies neither which semi-hard negative to choose nor what to do
          without one. Here it is the nearest; if no negative is farther than the positive, it is
          the farthest of all, the least hard one. A negative beyond the margin adds no loss.
        - Batch hard uses squared distances; Hermans et al. use their root, which has no gradient
          where features coincide.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        weight: Annotated[float, Field(ge=0)] = 1.0,
        margin: Annotated[float, Field(ge=0)] = 0.2,
        softmax_weight: Annotated[float, Field(ge=0)] = 1.0,
        mining: Mining = "all",
        normalize: bool = True,
        samples_per_class: Annotated[int, Field(ge=2)] = 4,
    ) -> None:
        super().__init__(
            num_classes,
            feature_dim,
            "triplet",
            weight=weight,
            softmax_weight=softmax_weight,
            samples_per_class=samples_per_class,
        )
        self.margin = margin
        self.mining: Mining = mining
        self.normalize = normalize

    def embed(self, features: Tensor) -> Tensor:
        return unit_vectors(features) if self.normalize else features

    def embedding_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return triplet(embeddings, labels, self.margin, self.mining)
