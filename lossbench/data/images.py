"""Images as a training and its measurement see them, wherever they are stored."""

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
"""Images (B, C, H, W), uint8, and a CPU generator -> images.

One with a true attribute `takes_whole_image` brings images to the model's size by itself: nothing
is resized before it if it is the first.
"""
MOST_AT_ONCE, PIXELS_AT_ONCE = 1000, 2**20
"""How many images, and of how many pixels together, are measured at a time."""


@dataclass(frozen=True)
class View:
    """The part of an image that a model sees.

    Attributes:
        resize: Length that the shorter side is brought to; None: as it is.
        crop: Side of the central square that is cut out then; None: all of it.
    """

    resize: int | None = None
    crop: int | None = None

    def resized(self, images: Tensor) -> Tensor:
        """Bring the shorter side of images (..., C, H, W) to `resize`."""
        if self.resize is None or min(images.shape[-2:]) == self.resize:
            return images
        from lossbench.data.torchvision import functional

        resized: Tensor = functional.resize(images, [self.resize], antialias=True)
        return resized

    def cropped(self, images: Tensor) -> Tensor:
        """Cut the central square out of images (..., C, H, W); none is smaller than that.

        Half a pixel is rounded to even, as in torchvision's `center_crop`.
        """
        if self.crop is None or images.shape[-2:] == (self.crop, self.crop):
            return images
        top, left = (round(margin / 2) for margin in self._margins(*images.shape[-2:]))
        return images[..., top : top + self.crop, left : left + self.crop]

    def ten_crops(self, images: Tensor) -> Tensor:
        """Four corners and the centre, and their mirror images: (..., 10, C, crop, crop)."""
        from lossbench.data.torchvision import functional

        assert self.crop is not None
        crops = functional.ten_crop(self.resized(images), [self.crop])
        return torch.stack(crops, -4)

    def shape(self, shape: Shape) -> Shape:
        """What comes out, of an image (C, H, W).

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
        """Rows and columns that the central crop cuts off from an image (C, H, W)."""
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
    """Whether images are resized before these augmentations."""
    return not (augmentations and getattr(augmentations[0], "takes_whole_image", False))


class Images(ABC):
    """Images of one size after the view, with their labels.

    Attributes:
        labels: int64 (N,), on the training's device.
        view: What a model sees of each.
        of_pixels: Whether they are images indeed, not vectors computed before.
    """

    labels: Tensor
    view: View
    of_pixels: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def augmented(
        self, batches: Iterable[Tensor], augmentations: Sequence[Augment], generator: Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches for training.

        Args:
            batches: Indices of each batch, on the CPU.
            augmentations: Applied in this order.
            generator: On the CPU; what is drawn does not depend on the device.

        Yields:
            Images (B, C, H, W), uint8, and labels (B,), on the device.
        """

    @abstractmethod
    def central(self, chosen: Tensor | None = None, size: int | None = None) -> Iterator[Tensor]:
        """The images (B, C, H, W), uint8, without augmentation, in order.

        Args:
            chosen: Indices (M,); None: all.
            size: Images at a time; None: as many as leave room for a network's maps.
        """

    @abstractmethod
    def ten_crops(self, size: int) -> Iterator[Tensor]:
        """Ten crops of each image (B, 10, C, H, W), uint8, in order, `size` images at a time."""


@dataclass(frozen=True)
class ArrayImages(Images):
    """Images of one size, all of them on the training's device.

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

    def central(self, chosen: Tensor | None = None, size: int | None = None) -> Iterator[Tensor]:
        _, height, width, _ = self.images.shape
        size = size or min(MOST_AT_ONCE, max(PIXELS_AT_ONCE // (height * width), 1))
        images = self.images if chosen is None else self.images[chosen.to(self.images.device)]
        for part in images.split(size):
            yield self.view.cropped(self.view.resized(part.permute(0, 3, 1, 2)))

    def ten_crops(self, size: int) -> Iterator[Tensor]:
        for part in self.images.split(size):
            yield self.view.ten_crops(part.permute(0, 3, 1, 2))


@dataclass(frozen=True)
class Normaliser:
    """x -> (x - mean) / std, per channel, on pixels in [0, 255].

    Attributes:
        mean, std: (C, 1, 1) or (1, 1, 1)
    """

    mean: Tensor
    std: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        if self.mean.numel() == self.std.numel() == 1:
            return (images.float() - self.mean) / self.std
        # by whole rows of pixels as they lie in memory, or each step would be 3 numbers long
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
    """A `Normaliser` from one number, or one for each channel."""

    def column(value: float | Sequence[float]) -> Tensor:
        numbers = [value] if isinstance(value, float) else list(value)
        return torch.tensor(numbers, device=device)[:, None, None]

    return Normaliser(column(mean), column(std))
