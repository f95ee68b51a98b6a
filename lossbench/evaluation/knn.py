"""Classification by nearest neighbours among the training images."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from lossbench.evaluation.base import EVALUATIONS, IMAGES, Evaluation, Measurement, Trained
from lossbench.evaluation.neighbours import Distance, nearest, require_finite
from lossbench.records import Metric


@EVALUATIONS.register("knn", reference="Cover & Hart, 1967; Wu et al., CVPR 2018")
class NearestNeighbours(Evaluation):
    """Error of a k-nearest-neighbour classifier on the features; it does not use the classifier.

    Each measured image is assigned to the class with most of its k nearest training images, without
    augmentation. Of equally frequent classes, the one that has the nearest image among the k is
    chosen; of equally distant training images, the first ones.

    Args:
        k: Number of neighbours, >= 1; with fewer training images all of them vote.
        distance: Distance between features.

    Reference: Cover, Hart: Nearest Neighbor Pattern Classification. IEEE Transactions on
        Information Theory 1967. Wu, Xiong, Yu, Lin: Unsupervised Feature Learning via
        Non-Parametric Instance Discrimination. CVPR 2018, for features of networks.

    Deviations: every neighbour has one vote. Wu et al. take 200 neighbours and weight their votes
        by exp(cos / 0.07), but the best temperature depends on the loss, and there are no such
        weights for Euclidean distances.
    """

    needs_images = False

    def __init__(
        self, *, k: Annotated[int, Field(ge=1)] = 20, distance: Distance = "cosine"
    ) -> None:
        self.k, self.distance = k, distance
        suffix = "" if distance == "cosine" else f"_{distance}"
        self._name = f"knn_{k}{suffix}_error"

    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric(
                name=self._name,
                label=f"k-NN error, k = {self.k}, {self.distance} distance",
                unit=IMAGES,
                group="representation",
            ),
        )

    def __call__(self, trained: Trained) -> Measurement:
        queries = require_finite(trained.features, "the measured images")
        gallery = require_finite(trained.train_features, "the training set")
        labels = trained.train.labels  # (M,)
        k = min(self.k, len(gallery))
        voted = torch.cat(
            [
                majority(labels[chosen], trained.head.num_classes)
                for chosen in nearest(queries, gallery, k, self.distance)
            ]
        )
        wrong = int((voted != trained.measured_images.labels).sum())
        return Measurement({self._name: 100.0 * wrong / len(voted)})


def majority(votes: Tensor, num_classes: int) -> Tensor:
    """Most frequent class (B,); of equally frequent ones, the one that comes first.

    Args:
        votes: (B, k) Classes, in [0, K).
        num_classes: K
    """
    counts = votes.new_zeros(len(votes), num_classes)  # whole numbers, so any order of addition
    counts.scatter_add_(1, votes, torch.ones_like(votes))
    most = counts.amax(1, keepdim=True)
    is_winner = counts.gather(1, votes) == most  # (B, k)
    first = is_winner.int().argmax(1, keepdim=True)
    return votes.gather(1, first).squeeze(1)
