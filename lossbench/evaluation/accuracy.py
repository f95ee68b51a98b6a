"""Classification errors from class scores."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lossbench.data.dataset import Dataset
from lossbench.data.images import View
from lossbench.evaluation.base import EVALUATIONS, IMAGES, Evaluation, Measurement, Trained
from lossbench.records import Metric

TEN_CROP_IMAGES = 32
"""Number of images per batch; each has ten crops."""


@EVALUATIONS.register("error")
class Error(Evaluation):
    """Top-1 error rate: percentage of images whose predicted class is wrong."""

    needs_images = False

    def metrics(self) -> tuple[Metric, ...]:
        return (Metric(name="error", label="error", unit=IMAGES, group="accuracy"),)

    def __call__(self, trained: Trained) -> Measurement:
        return Measurement({"error": top_error(trained.scores, trained.measured_images.labels, 1)})


@EVALUATIONS.register("top5_error")
class Top5Error(Evaluation):
    """Top-5 error rate: percentage of images whose class is not among the five highest scores."""

    needs_images = False

    def metrics(self) -> tuple[Metric, ...]:
        return (Metric(name="top5_error", label="top-5 error", unit=IMAGES, group="accuracy"),)

    def __call__(self, trained: Trained) -> Measurement:
        return Measurement(
            {"top5_error": top_error(trained.scores, trained.measured_images.labels, 5)}
        )


@EVALUATIONS.register("ten_crop", reference="Krizhevsky et al., NIPS 2012, Sect. 4.1")
class TenCrop(Evaluation):
    """Top-1 and top-5 error rates of the posterior averaged over ten crops.

    The crops are the four corners and the centre of the resized image, and their mirror images.
    The memory for a few hundred crops is required, independent of the size of the test set.

    Reference: Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional
        Neural Networks. NIPS 2012, Sect. 4.1.

    Deviations: none. The L-GM paper does not say what is averaged; as in Krizhevsky et al., it is
        the posterior.
    """

    def metrics(self) -> tuple[Metric, ...]:
        return (
            Metric(name="ten_crop_error", label="10-crop error", unit=IMAGES, group="accuracy"),
            Metric(
                name="ten_crop_top5_error",
                label="10-crop top-5 error",
                unit=IMAGES,
                group="accuracy",
            ),
        )

    def check(self, dataset: Dataset, view: View, data_root: Path) -> dict[str, str]:
        if view.crop is None:
            raise ValueError("requires recipe.input.crop, smaller than the images")
        shape = dataset.splits["test"].shape
        size = shape[1:] if shape else dataset.common_size
        side = view.resize or (min(size) if size else None)
        if side is None:
            raise ValueError("requires recipe.input.resize, because the images differ in size")
        if side <= view.crop:
            raise ValueError(
                f"all ten crops of {view.crop} are equal for images with a shorter side of {side}"
            )
        return {}

    @torch.no_grad()
    def __call__(self, trained: Trained) -> Measurement:
        posteriors = []
        for crops in trained.measured_images.ten_crops(TEN_CROP_IMAGES):  # (B, 10, C, H, W)
            features = trained.model(trained.normalise(crops.flatten(0, 1)))  # (10 B, D)
            posterior = trained.head.logits(features).softmax(1)  # (10 B, K)
            posteriors.append(posterior.unflatten(0, crops.shape[:2]).mean(1))
        mean, labels = torch.cat(posteriors), trained.measured_images.labels  # (N, K)
        return Measurement(
            {
                "ten_crop_error": top_error(mean, labels, 1),
                "ten_crop_top5_error": top_error(mean, labels, 5),
            }
        )


def top_error(scores: Tensor, labels: Tensor, k: int) -> float:
    """Percentage of images whose class is not among the k highest scores.

    An image with a NaN score counts as an error, because its scores have no order.

    Args:
        scores: (N, K)
        labels: (N,), in [0, K).
        k: At least 1; values above K act like K.
    """
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices  # (N, k)
    hits = (best == labels[:, None]).any(1) & ~scores.isnan().any(1)
    return 100.0 * (len(labels) - int(hits.sum())) / len(labels)
