"""Images for a training and its evaluations, independent of their storage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

Shape = tuple[int, int, int]
"""(C, H, W)"""
Augment = Callable[[Tensor, Generator], Tensor]
"""Function from images (B, C, H, W), uint8, and a CPU generator to images.

An augmentation with a true attribute `takes_whole_image` resizes images itself: if it is the first
one, images are not resized before it.
"""
MAX_BATCH, MAX_BATCH_PIXELS = 1000, 2**20
"""Largest numbers of images and of pixels in a batch without augmentation."""


@dataclass(frozen=True)
class View:
    """Resizing and central crop of the images for a model.

    Attributes:
        resize: Length of the shorter side after resizing, in pixels; None for no resizing.
        crop: Side of the central square that is then cropped, in pixels; None for no crop.
    """

    resize: int | None = None
    crop: int | None = None

    def resized(self, images: Tensor) -> Tensor:
        """Images (..., C, H, W), resized to the shorter side `resize`."""
        if self.resize is None or min(images.shape[-2:]) == self.resize:
            return images
        from lossbench.data.torchvision import functional

        resized: Tensor = functional.resize(images, [self.resize], antialias=True)
        return resized

    def cropped(self, images: Tensor) -> Tensor:
        """Central squares of images (..., C, H, W), which must not be smaller.

        Half pixels are rounded to even, as in torchvision's `center_crop`.
        """
        if self.crop is None or images.shape[-2:] == (self.crop, self.crop):
            return images
        top, left = (round(margin / 2) for margin in self._margins(*images.shape[-2:]))
        return images[..., top : top + self.crop, left : left + self.crop]

    def ten_crops(self, images: Tensor) -> Tensor:
        """Four corners, the centre, and their mirror images, (..., 10, C, crop, crop)."""
        from lossbench.data.torchvision import functional

        assert self.crop is not None
        crops = functional.ten_crop(self.resized(images), [self.crop])
        return torch.stack(crops, -4)

    def shape(self, shape: Shape) -> Shape:
        """Shape of the view of an image (C, H, W).

        Raises:
            ValueError: The image is too small for the crop.
        """
        channels = shape[0]
        height, width = self._resized_size(shape)
        if self.crop is None:
            return channels, height, width
        if min(height, width) < self.crop:
            raise ValueError(
                f"a crop of {self.crop} is larger than the images, {height}x{width}"
                + (" after resizing" if self.resize else "")
            )
        return channels, self.crop, self.crop

    def margins(self, shape: Shape) -> tuple[int, int]:
        """Numbers of rows and columns that the crop removes from an image (C, H, W)."""
        return self._margins(*self._resized_size(shape))

    def _resized_size(self, shape: Shape) -> tuple[int, int]:
        _, height, width = shape
        if self.resize is None:
            return height, width
        short = min(height, width)
        return height * self.resize // short, width * self.resize // short

    def _margins(self, height: int, width: int) -> tuple[int, int]:
        return (0, 0) if self.crop is None else (height - self.crop, width - self.crop)


def resizes_first(augmentations: Sequence[Augment]) -> bool:
    """Whether images are resized before the augmentations, not by the first of them."""
    return not (augmentations and getattr(augmentations[0], "takes_whole_image", False))


class Images(ABC):
    """Images with labels; all have the same size in the view.

    Attributes:
        labels: int64 (N,), on the device of the training.
        view: Resizing and crop of each image.
        are_pixels: Whether they are images, not precomputed vectors.
    """

    labels: Tensor
    view: View
    are_pixels: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def augmented(
        self, batches: Iterable[Tensor], augmentations: Sequence[Augment], generator: Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Augmented batches for training.

        Args:
            batches: Indices (B,) of each batch, on the CPU.
            augmentations: Augmentations in the order of application.
            generator: CPU generator, so that random numbers do not depend on the device.

        Yields:
            Images (B, C, H, W), uint8, and labels (B,), on the device.
        """

    @abstractmethod
    def unaugmented(
        self, chosen: Tensor | None = None, size: int | None = None
    ) -> Iterator[Tensor]:
        """Batches of images (B, C, H, W), uint8, without augmentation, in order.

        Args:
            chosen: (M,) Indices of the images; None for all.
            size: Batch size; None for one that leaves memory for the feature maps of a network.
        """

    @abstractmethod
    def ten_crops(self, size: int) -> Iterator[Tensor]:
        """Batches of ten crops per image (B, 10, C, H, W), uint8, in order.

        Args:
            size: Number of images per batch.
        """


@dataclass(frozen=True)
class ArrayImages(Images):
    """Images of the same size, stored on the device of the training.

    Attributes:
        images: uint8 (N, H, W, C)
    """

    images: Tensor
    labels: Tensor
    view: View = View()

    def augmented(
        self, batches: Iterable[Tensor], augmentations: Sequence[Augment], generator: Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen in batches:
            chosen = chosen.to(self.labels.device)
            images = self.images.index_select(0, chosen).permute(0, 3, 1, 2)  # (B, C, H, W)
            if resizes_first(augmentations):
                images = self.view.resized(images)
            for augment in augmentations:
                images = augment(images, generator)
            yield self.view.cropped(images), self.labels[chosen]

    def unaugmented(
        self, chosen: Tensor | None = None, size: int | None = None
    ) -> Iterator[Tensor]:
        _, height, width, _ = self.images.shape
        size = size or min(MAX_BATCH, max(MAX_BATCH_PIXELS // (height * width), 1))
        images = self.images if chosen is None else self.images[chosen.to(self.images.device)]
        for part in images.split(size):
            yield self.view.cropped(self.view.resized(part.permute(0, 3, 1, 2)))

    def ten_crops(self, size: int) -> Iterator[Tensor]:
        for part in self.images.split(size):
            yield self.view.ten_crops(part.permute(0, 3, 1, 2))


@dataclass(frozen=True)
class Normaliser:
    """Map x -> (x - mean) / std, per channel, of pixels in [0, 255].

    Attributes:
        mean: (C, 1, 1) or (1, 1, 1)
        std: (C, 1, 1) or (1, 1, 1)
    """

    mean: Tensor
    std: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        if self.mean.numel() == self.std.numel() == 1:
            return (images.float() - self.mean) / self.std
        # on whole rows of pixels in memory order, because loops over 3 channels are slow
        count, channels, height, width = images.shape
        rows = images.permute(0, 2, 3, 1).float().reshape(count, height, width * channels)
        mean, std = (
            numbers.flatten().expand(channels).repeat(width) for numbers in (self.mean, self.std)
        )
        scaled = (rows - mean) / std
        return scaled.view(count, height, width, channels).permute(0, 3, 1, 2)


def normaliser(
    mean: float | Sequence[float], std: float | Sequence[float], device: torch.device
) -> Normaliser:
    """Create a `Normaliser`.

    Args:
        mean: One number, or one per channel.
        std: One number, or one per channel.
        device: Device of the images.
    """

    def column(value: float | Sequence[float]) -> Tensor:
        numbers = [value] if isinstance(value, float) else list(value)
        return torch.tensor(numbers, device=device)[:, None, None]

    return Normaliser(column(mean), column(std))
