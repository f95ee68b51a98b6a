"""Images on the device of a training, and their scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """Images and labels on the training's device.

    Attributes:
        images: uint8 (N, H, W, C)
        labels: int64 (N,)
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Normaliser:
    """x -> (x - mean) / std, per channel, on pixels in [0, 255].

    Attributes:
        mean, std: (C, 1, 1) or (1, 1, 1)
    """

    mean: Tensor
    std: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        return (images.float() - self.mean) / self.std


def image_set(
    images: NDArray[np.uint8], labels: NDArray[np.int64], device: torch.device
) -> ImageSet:
    """Put arrays on a device; on the CPU memory-mapped arrays stay mapped."""
    return ImageSet(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device))


def normaliser(
    mean: float | Sequence[float], std: float | Sequence[float], device: torch.device
) -> Normaliser:
    """A `Normaliser` from one number, or one for each channel."""

    def column(value: float | Sequence[float]) -> Tensor:
        numbers = [value] if isinstance(value, float) else list(value)
        return torch.tensor(numbers, device=device)[:, None, None]

    return Normaliser(column(mean), column(std))
