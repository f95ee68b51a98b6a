"""Separation of the classes in the space of the features, and the norm of the features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lossbench.data.dataset import Dataset
from lossbench.data.images import View
from lossbench.errors import NotFiniteError
from lossbench.evaluation.base import EVALUATIONS, Evaluation, Measurement, Trained
from lossbench.evaluation.neighbours import require_finite, unit_vectors
from lossbench.records import Metric

ROUNDING = 1e-12
"""Mean cosine distance below which all features have the same direction."""


@EVALUATIONS.register(
    "class_separation", reference="Kornblith et al., NeurIPS 2021; Davies & Bouldin, 1979"
)
class ClassSeparation(Evaluation):
    """Separation of the classes by the features of the measured images.

    `class_separation` is R^2 = 1 - within / total with the cosine distance d(a, b) = 1 - cos(a, b):
    within is the mean over classes of the mean distance between two images of the class, total the
    mean over pairs of classes of the mean distance between an image of each. Both include a class
    with itself and an image with itself. It is 1 if each class has one direction, and near 0 if
    the classes do not differ; 0 if all features have the same direction. A feature of zero has
    distance 1 from all.

    `distance_ratio` is mean_k S_k / mean_{j<k} M_jk with Euclidean distances: S_k is the mean
    distance of the images of class k to their mean, M_jk the distance between two class means.

    `feature_norm` is the mean L2 norm. It describes the features; neither large nor small norms are
    better.

    All classes with measured images have equal weights, except in `feature_norm`, in which all
    images have.

    Reference: Kornblith, Chen, Lee, Norouzi: Why Do Better Loss Functions Lead to Less
        Transferable Features? NeurIPS 2021; they find that features with larger R^2 transfer less
        well to other data. Davies, Bouldin: A Cluster Separation Measure. IEEE Transactions on
        Pattern Analysis and Machine Intelligence 1979, for S_k (q = 1) and M_jk (p = 2).

    Deviations: the index of Davies and Bouldin is the mean over the classes of the largest
        (S_j + S_k) / M_jk; `distance_ratio` divides the means, so that it depends less on the two
        nearest classes.
    """

    needs_images = False

    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric(
                name="class_separation",
                label="class separation R²",
                higher_is_better=True,
                group="representation",
            ),
            Metric(
                name="distance_ratio",
                label="distance to the class mean / distance between class means",
                group="representation",
            ),
            Metric(
                name="feature_norm",
                label="norm of the features",
                judged=False,
                group="representation",
            ),
        )

    def check(self, dataset: Dataset, view: View, data_root: Path) -> dict[str, str]:
        if len(np.unique(dataset.splits["test"].labels)) < 2:
            raise ValueError("requires test images of at least two classes")
        return {}

    def __call__(self, trained: Trained) -> Measurement:
        features = require_finite(trained.features, "the measured images")
        by_class = group_by_class(features.double(), trained.measured_images.labels)
        return Measurement(
            {
                "class_separation": class_separation(by_class),
                "distance_ratio": distance_ratio(by_class),
                "feature_norm": float(features.double().norm(dim=1).mean()),
            }
        )


def group_by_class(features: Tensor, labels: Tensor) -> list[Tensor]:
    """Features (N_k, D) of each class that has some, in ascending order of the labels.

    Args:
        features: (N, D)
        labels: (N,)
    """
    order = labels.argsort(stable=True)
    _, counts = labels.unique(return_counts=True)
    return list(features[order].split(counts.tolist()))


def class_separation(by_class: list[Tensor]) -> float:
    """R^2 of Kornblith et al.; see `ClassSeparation`.

    The mean of 1 - cos(a, b) over all pairs of two sets is 1 - the product of their mean unit
    vectors, so that no pair has to be computed.

    Args:
        by_class: (N_k, D) Features of each class.
    """
    means = torch.stack([unit_vectors(features).mean(0) for features in by_class])  # (K, D)
    within = 1 - float(means.square().sum(1).mean())
    total = 1 - float(means.mean(0).square().sum())
    return 1 - within / total if total > ROUNDING else 0.0


def distance_ratio(by_class: list[Tensor]) -> float:
    """Mean distance to the class mean / mean distance between class means.

    Args:
        by_class: (N_k, D) Features of each class, of at least two classes.

    Raises:
        NotFiniteError: All class means are equal.
    """
    means = torch.stack([features.mean(0) for features in by_class])  # (K, D)
    spreads = [
        (features - mean).norm(dim=1).mean() for features, mean in zip(by_class, means, strict=True)
    ]
    between = float(torch.pdist(means).mean())
    if between == 0:
        raise NotFiniteError("the means of the features of all classes were equal")
    return float(torch.stack(spreads).mean()) / between
