"""Images of another data set in the form that the model of a suite accepts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lossbench.data.dataset import Dataset, Split
from lossbench.data.images import Shape, View
from lossbench.errors import DataError
from lossbench.evaluation.base import Trained


def require_convertible(name: str, other: Dataset, dataset: Dataset, view: View) -> None:
    """Refuse another data set whose test images cannot be converted to the form of the suite's.

    Args:
        name: Name of the other data set in the suite.
        other: The other data set.
        dataset: Data set of the suite.
        view: Resizing and crop of the model's input.

    Raises:
        ValueError: It is the suite's own data set, or its images cannot be converted.
        DataError: It has no test set.
    """
    if "test" not in other.splits:
        raise DataError(f"{name}: has no test set")
    if other.digest == dataset.digest:
        raise ValueError(f"{name} is the data set that the suite trains on")
    if other.vectors:
        raise ValueError(f"{name} has vectors, not images")
    channels, others = dataset.image_shape(view)[0], _channels(other)
    if channels != others and not {channels, others} <= {1, 3}:
        raise ValueError(
            f"{name}: its images have {others} channels, those of {dataset.card.name} "
            f"{channels}; only 1 and 3 can be converted to each other"
        )


@torch.no_grad()
def features_of(trained: Trained, split: Split, shape: Shape) -> Tensor:
    """Features (N, D) of images of another data set.

    The central square of each image is resized to the size of the model's input. Colour is
    converted to luminance, and grey to the same value in each channel.

    Args:
        trained: Trained model.
        split: N images of the other data set.
        shape: Shape (C, H, W) of the images that the model was trained on.
    """
    images = split.to_device(trained.device, square_view(shape[1:])).unaugmented()
    return torch.cat([trained.model(trained.normalise(part)) for part in _converted(images, shape)])


def square_view(size: Sequence[int]) -> View:
    """Central square whose side is the shorter side of images of size (H, W)."""
    side = min(size)
    return View(resize=side, crop=side)


def _channels(dataset: Dataset) -> int:
    shape = dataset.splits["test"].shape
    return 3 if shape is None else shape[0]  # image files are decoded to RGB


def _converted(batches: Iterator[Tensor], shape: Shape) -> Iterator[Tensor]:
    """Images (B, C', S, S), converted to images of a shape (C, H, W)."""
    from lossbench.data.torchvision import functional

    channels, *size = shape
    for images in batches:
        if images.shape[1] != channels:
            images = functional.rgb_to_grayscale(images, num_output_channels=1)
            images = images.expand(-1, channels, -1, -1)
        yield functional.resize(images, size, antialias=True)
