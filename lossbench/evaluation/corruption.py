"""Error under common corruptions of the images."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from lossbench.evaluation.accuracy import top_error
from lossbench.evaluation.base import EVALUATIONS, IMAGES, Evaluation, Measurement, Trained
from lossbench.evaluation.corrupted_images import CORRUPTIONS, Corruption, corrupt
from lossbench.records import Metric

LABELS: dict[Corruption, str] = {
    "gaussian_noise": "Gaussian noise",
    "gaussian_blur": "Gaussian blur",
    "brightness": "more brightness",
    "contrast": "less contrast",
    "pixelate": "pixelation",
}
BATCH_SIZE = 250
"""Number of images that are corrupted together."""


def _without_repetition(values: list[Any]) -> list[Any]:
    if twice := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"{twice[0]} is listed twice")
    return values


@EVALUATIONS.register("corruption", reference="Hendrycks & Dietterich, ICLR 2019")
class CorruptionError(Evaluation):
    """Top-1 error on corrupted images, by corruption and severity, and its mean.

    gaussian_noise adds normal noise; gaussian_blur blurs; brightness increases the value in HSV;
    contrast shrinks the differences from the image's mean; pixelate reduces the image and enlarges
    it again. The severities are those of CIFAR-10-C, for images of 32x32; larger images suffer
    less from blur.

    The noise of an image depends only on its position and the severity. So all networks see the
    same corrupted images, as with a stored data set.

    Args:
        corruptions: Corruptions to measure.
        severities: Severities to measure, from 1, the weakest, to 5.

    Reference: Hendrycks, Dietterich: Benchmarking Neural Network Robustness to Common Corruptions
        and Perturbations. ICLR 2019; parameters of the code that made CIFAR-10-C.

    Deviations:
        - Five corruptions instead of 15, those that are exactly defined without image libraries;
          Gaussian blur is one of the paper's four additional ones.
        - The mean is over errors in percent, not over ratios to the errors of AlexNet.
        - Images are corrupted after resizing and crop, in the size of the model's input, and not
          rounded to whole numbers.
    """

    def __init__(
        self,
        *,
        corruptions: Annotated[
            list[Corruption], Field(min_length=1), AfterValidator(_without_repetition)
        ] = list(CORRUPTIONS),  # noqa: B006
        severities: Annotated[
            list[Annotated[int, Field(ge=1, le=5)]],
            Field(min_length=1),
            AfterValidator(_without_repetition),
        ] = [1, 3, 5],  # noqa: B006
    ) -> None:
        self.corruptions, self.severities = corruptions, severities

    def metrics(self) -> tuple[Metric, ...]:
        mean = Metric(
            name="corruption_error",
            label="mean error under corruptions",
            unit=IMAGES,
            group="robustness",
        )
        single = [
            Metric(
                name=_name(corruption, severity),
                label=f"error under {LABELS[corruption]}, severity {severity}",
                unit=IMAGES,
                group="robustness",
            )
            for corruption in self.corruptions
            for severity in self.severities
        ]
        return (mean, *single)

    def __call__(self, trained: Trained) -> Measurement:
        labels = trained.measured_images.labels
        errors = {}
        for corruption in self.corruptions:
            for severity in self.severities:
                features = torch.cat(list(corrupted_features(trained, corruption, severity)))
                with torch.no_grad():
                    scores = trained.head.logits(features)
                errors[_name(corruption, severity)] = top_error(scores, labels, 1)
        return Measurement({"corruption_error": fmean(errors.values()), **errors})


@torch.no_grad()
def corrupted_features(trained: Trained, corruption: Corruption, severity: int) -> Iterator[Tensor]:
    """Features (B, D) of the corrupted measured images, by batches."""
    start = 0
    for pixels in trained.measured_images.unaugmented(size=BATCH_SIZE):
        places = range(start, start + len(pixels))
        corrupted = corrupt(pixels, corruption, severity, places)
        yield trained.model(trained.normalise(corrupted))
        start += len(pixels)


def _name(corruption: Corruption, severity: int) -> str:
    return f"{corruption}_{severity}_error"
