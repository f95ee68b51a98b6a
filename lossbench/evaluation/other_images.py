"""Detection of images of another data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lossbench.data.dataset import Dataset
from lossbench.data.images import Shape, View
from lossbench.data.loading import load_dataset
from lossbench.errors import DataError
from lossbench.evaluation.base import EVALUATIONS, Evaluation, Measurement, Trained
from lossbench.evaluation.ood_detection import (
    detection_artifact,
    detection_metrics,
    measure_detection,
)
from lossbench.records import Artifact, Metric


@EVALUATIONS.register("other_images", reference="Hendrycks & Gimpel, ICLR 2017")
class OtherImages(Evaluation):
    """Out-of-distribution detection: test images of another data set against the measured ones.

    The other images are converted to the size and the number of channels of the measured ones:
    colour to luminance, grey to the same value in each channel.

    Args:
        dataset: Name of the other data set.
    """

    reads_other_data = True

    def __init__(self, *, dataset: str) -> None:
        self.dataset = dataset
        self._key = f"other_{Path(dataset).name}"

    def metrics(self) -> tuple[Metric, ...]:
        return detection_metrics(self._key, f"images of {Path(self.dataset).name}")

    def artifacts(self) -> tuple[Artifact, ...]:
        title = f"images of {Path(self.dataset).name}"
        return (detection_artifact(self._key, title),)

    def check(self, dataset: Dataset, view: View, data_root: Path) -> dict[str, str]:
        other = load_dataset(self.dataset, data_root)
        if "test" not in other.splits:
            raise DataError(f"{self.dataset}: has no test set")
        if other.digest == dataset.digest:
            raise ValueError(f"{self.dataset} is the data set that the suite trains on")
        channels, others = dataset.image_shape(view)[0], _channels(other)
        if channels != others and not {channels, others} <= {1, 3}:
            raise ValueError(
                f"{self.dataset}: its images have {others} channels, those of {dataset.card.name} "
                f"{channels}; only 1 and 3 can be converted to each other"
            )
        return {self.dataset: other.digest}

    def other_images(
        self, dataset: Dataset, view: View, data_root: Path
    ) -> tuple[Shape | None, View]:
        other = load_dataset(self.dataset, data_root)
        return other.splits["test"].shape, _square_view(dataset.image_shape(view)[1:])

    @torch.no_grad()
    def __call__(self, trained: Trained) -> Measurement:
        [sample] = next(iter(trained.measured_images.unaugmented(size=1)))  # (C, H, W)
        dataset = load_dataset(self.dataset, trained.data_root, verify=False)
        view = _square_view(sample.shape[1:])
        images = dataset.splits["test"].to_device(trained.device, view)
        features = [
            trained.model(trained.normalise(_like(part, sample))) for part in images.unaugmented()
        ]
        return Measurement(*measure_detection(trained, self._key, torch.cat(features)))


def _square_view(size: Sequence[int]) -> View:
    """Central square whose side is the shorter side of images of size (H, W)."""
    side = min(size)
    return View(resize=side, crop=side)


def _channels(dataset: Dataset) -> int:
    shape = dataset.splits["test"].shape
    return 3 if shape is None else shape[0]  # image files are decoded to RGB


def _like(images: Tensor, sample: Tensor) -> Tensor:
    """Images (B, C', S, S), converted to the channels and the size of a sample (C, H, W)."""
    from lossbench.data.torchvision import functional

    if images.shape[1] != sample.shape[0]:
        images = functional.rgb_to_grayscale(images, num_output_channels=1)
        images = images.expand(-1, sample.shape[0], -1, -1)
    resized: Tensor = functional.resize(images, list(sample.shape[1:]), antialias=True)
    return resized
