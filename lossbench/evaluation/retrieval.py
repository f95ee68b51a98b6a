"""Image retrieval: are the nearest images of the same class?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lossbench.data.dataset import Dataset
from lossbench.data.images import View
from lossbench.errors import NotFiniteError
from lossbench.evaluation.base import (
    EVALUATIONS,
    IMAGES,
    Evaluation,
    Measurement,
    Trained,
    extract_features,
)
from lossbench.evaluation.neighbours import Distance, nearest, require_finite
from lossbench.records import Metric


@EVALUATIONS.register("retrieval", reference="Musgrave et al., ECCV 2020")
class Retrieval(Evaluation):
    """Retrieval of images of the same class by the features, without the classifier.

    Each measured image is a query against all others, sorted by their distance. Let R be the number
    of others of its class, and P(i) the share of images of its class among the nearest i.
    `precision_at_1` is P(1), `r_precision` is P(R), and `map_at_r` is 1/R sum_{i <= R} P(i) [the
    i-th is of the class], each averaged over the queries. The only image of a class is no query,
    but it is searched. Of equally distant images, the first ones are the nearest.

    Args:
        distance: Distance between features.
        held_out_classes: Whether to measure on other images: the test images of the classes that
            the suite's `dataset.classes` leaves out, which the network has never seen. All of them
            are measured, whatever `dataset.test_size` is.

    Reference: Musgrave, Belongie, Lim: A Metric Learning Reality Check. ECCV 2020.
    """

    needs_images = False

    def __init__(self, *, distance: Distance = "cosine", held_out_classes: bool = False) -> None:
        self.distance = distance
        self.needs_left_out = self.reads_other_data = held_out_classes
        suffixes = ["euclidean"] * (distance == "euclidean") + ["unseen"] * held_out_classes
        self._key = "_".join(["retrieval", *suffixes])

    def metrics(self) -> tuple[Metric, ...]:
        by = f", {self.distance} distance" + ", unseen classes" * self.needs_left_out
        described = {
            "precision_at_1": ("precision at 1", IMAGES),
            "r_precision": ("R-precision", "%"),
            "map_at_r": ("MAP@R", "%"),
        }
        return tuple(
            Metric(
                name=f"{self._key}_{name}",
                label=f"{label} of retrieval{by}",
                unit=unit,
                higher_is_better=True,
                group="retrieval",
            )
            for name, (label, unit) in described.items()
        )

    def check(self, dataset: Dataset, view: View, data_root: Path) -> dict[str, str]:
        if not self.needs_left_out:
            _require_queries(dataset.splits["test"].labels, "class")
            return {}
        if dataset.unrestricted is None or not dataset.left_out_classes:
            raise ValueError(
                "held_out_classes measures on classes that are not trained, and the suite trains "
                "on all; give dataset.classes only some of them"
            )
        others = dataset.left_out_test()
        labels = np.empty(0, dtype=np.int64) if others is None else others.labels
        if (count := len(np.unique(labels))) < 2:
            raise ValueError(
                "held_out_classes requires test images of at least two classes that "
                f"dataset.classes leaves out, not {count}"
            )
        _require_queries(labels, "class that dataset.classes leaves out")
        return {}

    def __call__(self, trained: Trained) -> Measurement:
        if self.needs_left_out:
            assert trained.left_out is not None
            images = trained.on_device(trained.left_out)
            features = extract_features(trained.model, trained.normalise, images)
            require_finite(features, "the images of the held-out classes")
        else:
            images = trained.measured_images
            features = require_finite(trained.features, "the measured images")
        precisions = retrieval_precisions(features, images.labels, self.distance)  # (Q, 3)
        if not len(precisions):
            raise NotFiniteError("its precision was undefined: no class has two measured images")
        values = (100.0 * precisions.mean(0)).tolist()
        names = [metric.name for metric in self.metrics()]
        return Measurement(dict(zip(names, values, strict=True)))


@torch.no_grad()
def retrieval_precisions(features: Tensor, labels: Tensor, distance: Distance) -> Tensor:
    """Precision at 1, R-precision and average precision at R of each query.

    Args:
        features: (N, D) Finite.
        labels: (N,)
        distance: Distance between features.

    Returns:
        (Q, 3) float64, in [0, 1]; Q is the number of images that are not the only one of their
        class, in their order.
    """
    _, place, count = labels.unique(return_inverse=True, return_counts=True)
    others = count[place] - 1  # (N,), R of each query
    most = int(others.max())
    if most == 0:
        return features.new_empty((0, 3), dtype=torch.float64)
    rank = torch.arange(1, most + 1, device=labels.device)
    parts = []
    start = 0
    for found in nearest(features, features, most, distance, leave_out_self=True):
        queries = slice(start, start + len(found))
        start += len(found)
        wanted = others[queries, None]  # (B, 1)
        hits = (labels[found] == labels[queries, None]) & (rank <= wanted)  # (B, most)
        precision_at = hits.cumsum(1) / rank.double()
        average = (precision_at * hits).sum(1) / wanted.squeeze(1)
        precision = hits.sum(1) / wanted.squeeze(1).double()
        parts.append(torch.stack([hits[:, 0].double(), precision, average], 1))
    return torch.cat(parts)[others > 0]


def _require_queries(labels: np.ndarray, kind: str) -> None:
    """Refuse labels (N,) of which none occurs twice.

    Raises:
        ValueError: No image has another one of its class.
    """
    if np.unique(labels, return_counts=True)[1].max() < 2:
        raise ValueError(f"requires at least two test images of a {kind}")
