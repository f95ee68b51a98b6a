"""Triplet loss: an anchor is nearer to its own class than to any other, by a margin."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES
from lossbench.losses.joint import JointMetricHead, distances

Mining = Literal["all", "semi_hard", "batch_hard"]


def unit_vectors(features: Tensor) -> Tensor:
    """x / ||x||; a zero vector stays zero, without gradient.

    Args:
        features: (N, D)

    Returns:
        (N, D)
    """
    norm: Tensor = features.norm(dim=1, keepdim=True)  # (N, 1)
    return features / norm.masked_fill(norm == 0, math.inf)


def all_triplets(distance: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Mean of max(0, d_ap - d_an + margin) over every triplet; scalar, 0 if there is none.

    Args:
        distance: (N, N), squared.
        positive: (N, N), whether the two are of one class, and not the same one.
        negative: (N, N), whether they are of two classes.
        margin: >= 0
    """
    valid = positive[:, :, None] & negative[:, None, :]  # (N, N, N): anchor, positive, negative
    hinge = F.relu(distance[:, :, None] - distance[:, None, :] + margin)
    return (hinge * valid).sum() / valid.sum().clamp_min(1)


def semi_hard(distance: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """One triplet for each anchor and positive; arguments as for `all_triplets`.

    The negative is the nearest of those farther away than the positive; where there is none,
    the farthest of all.
    """
    farther = negative[:, None, :] & (distance[:, None, :] > distance[:, :, None])  # (N, N, N)
    wide = distance[:, None, :].expand(farther.shape)
    nearest = wide.masked_fill(~farther, math.inf).amin(2)  # (N, N)
    farthest = distance.masked_fill(~negative, 0).amax(1, keepdim=True)  # (N, 1)
    chosen = torch.where(farther.any(2), nearest, farthest)  # (N, N)
    valid = positive & negative.any(1, keepdim=True)
    hinge = F.relu(distance - chosen + margin).masked_fill(~valid, 0)
    return hinge.sum() / valid.sum().clamp_min(1)


def batch_hard(distance: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """One triplet for each anchor: its farthest positive and its nearest negative.

    Arguments as for `all_triplets`.
    """
    valid = positive.any(1) & negative.any(1)  # (N,)
    farthest = distance.masked_fill(~positive, 0).amax(1)  # (N,)
    nearest = distance.masked_fill(~negative, math.inf).amin(1)  # (N,)
    hinge = F.relu(farthest - nearest + margin).masked_fill(~valid, 0)
    return hinge.sum() / valid.sum().clamp_min(1)


MINING = {"all": all_triplets, "semi_hard": semi_hard, "batch_hard": batch_hard}


def triplet(embeddings: Tensor, labels: Tensor, margin: float, mining: Mining) -> Tensor:
    """The triplet loss of a batch; scalar, 0 where no triplet is possible.

    Args:
        embeddings: (N, D)
        labels: (N,)
        margin: >= 0
        mining: Which triplets: see `MINING`.
    """
    distance = distances(embeddings, embeddings).square()  # (N, N)
    same = labels[:, None] == labels  # (N, N)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return MINING[mining](distance, same & ~itself, ~same, margin)


@LOSSES.register("triplet", reference="Schroff et al., CVPR 2015")
class TripletHead(JointMetricHead):
    """Triplet loss over the triplets of a batch, added to softmax.

    L = softmax_weight * cross-entropy
        + weight * mean over triplets of max(0, ||x_a - x_p||^2 - ||x_a - x_n||^2 + margin)

    for anchors a, positives p != a of the same class, negatives n of another one.

    Args:
        num_classes: K.
        feature_dim: D.
        weight: Of the triplet part, >= 0.
        margin: Between squared distances, >= 0.
        softmax_weight: Of the softmax part, >= 0. 0 is the pure form: no linear layer,
            classified by the nearest class mean.
        mining: `all` triplets; `semi_hard`: with each anchor and positive the nearest negative
            that is farther than the positive; `batch_hard`: with each anchor the farthest
            positive and the nearest negative.
        normalize: Whether the features are first brought to unit length (the softmax part sees
            them as they are).
        samples_per_class: Images of one class that a batch has together, >= 2.

    Terms:
        triplet: weight times the mean.
        cross_entropy: softmax_weight times the mean over the batch; absent in the pure form.

    Raises:
        ParameterError: Both weights are 0.

    Reference:
        Schroff, Kalenichenko, Philbin: FaceNet. CVPR 2015 (margin 0.2). Batch hard: Hermans,
        Beyer, Leibe: In Defense of the Triplet Loss for Person Re-Identification. 2017.

    Deviations:
        - The mean over all triplets chosen, those without loss included; FaceNet sums. The weight
          then does not depend on the batch, and the gradient fades as triplets are solved.
        - Semi-hard: FaceNet says neither which of the semi-hard negatives to take nor what to do
          without one. Here it is the nearest, and without one (no negative is farther than the
          positive) the farthest of all, the least hard one. One beyond the margin adds no loss.
        - Batch hard keeps squared distances; Hermans et al. take the root, which has no gradient
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

    def metric(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return triplet(embeddings, labels, self.margin, self.mining)
