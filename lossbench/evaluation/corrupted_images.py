"""Common corruptions of images by severity (Hendrycks & Dietterich 2019), for `corruption`.

Pixels are floats in [0, 255] and remain in that range. Every function treats each image by itself,
so that the result does not depend on the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Corruption = Literal["gaussian_noise", "gaussian_blur", "brightness", "contrast", "pixelate"]
CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
SEVERITIES: dict[Corruption, tuple[float, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
}
"""Parameter of each corruption at the severities 1 to 5: those of CIFAR-10-C."""
WHITE = 255.0
"""Largest pixel value."""
TRUNCATION = 4.0
"""Radius of the blur's kernel in standard deviations."""


def corrupt(pixels: Tensor, corruption: Corruption, severity: int, places: Sequence[int]) -> Tensor:
    """Corrupt images.

    Args:
        pixels: (B, C, H, W) in [0, 255].
        corruption: Kind of the corruption.
        severity: From 1, the weakest, to 5.
        places: Position (B,) of each image among all images. The noise of an image depends only on
            its position and the severity.

    Returns:
        (B, C, H, W), floats in [0, 255], not rounded.
    """
    amount, pixels = SEVERITIES[corruption][severity - 1], pixels.float()
    if corruption == "gaussian_noise":
        corrupted = add_noise(pixels, amount, [(severity, place) for place in places])
    elif corruption == "gaussian_blur":
        corrupted = blur(pixels, amount)
    elif corruption == "brightness":
        corrupted = brighten(pixels, amount)
    elif corruption == "contrast":
        corrupted = reduce_contrast(pixels, amount)
    else:
        corrupted = pixelate(pixels, amount)
    return corrupted.clamp(0, WHITE)


def add_noise(pixels: Tensor, std: float, seeds: Sequence[tuple[int, ...]]) -> Tensor:
    """Add independent normal noise to each pixel and channel.

    Args:
        pixels: (B, C, H, W)
        std: Standard deviation as a share of the pixel range.
        seeds: Seed (B,) of each image's noise, which is drawn on the CPU.
    """
    shape = pixels.shape[1:]
    drawn = [np.random.default_rng(seed).standard_normal(shape, np.float32) for seed in seeds]
    noise = torch.from_numpy(np.stack(drawn)).to(pixels.device)  # (B, C, H, W)
    return pixels + std * WHITE * noise


def blur(pixels: Tensor, std: float) -> Tensor:
    """Gaussian blur whose kernel ends at four standard deviations; borders are repeated.

    Args:
        pixels: (B, C, H, W)
        std: Standard deviation in pixels.
    """
    radius = int(TRUNCATION * std + 0.5)
    weights = [math.exp(-0.5 * (step / std) ** 2) for step in range(-radius, radius + 1)]
    total = sum(weights)
    for axis in (2, 3):
        size = pixels.shape[axis]
        places = torch.arange(size, device=pixels.device)
        # sums of shifted images: the same on all devices, which convolutions are not
        pixels = sum(
            (
                weight / total * pixels.index_select(axis, (places + step).clamp(0, size - 1))
                for step, weight in zip(range(-radius, radius + 1), weights, strict=True)
            ),
            torch.zeros_like(pixels),
        )
    return pixels


def brighten(pixels: Tensor, amount: float) -> Tensor:
    """Increase the value in HSV, the largest of a pixel's channels; hue and saturation remain.

    Args:
        pixels: (B, C, H, W)
        amount: Increase as a share of the pixel range; the value does not exceed the range.
    """
    value = pixels.amax(1, keepdim=True)  # (B, 1, H, W)
    brighter = (value + amount * WHITE).clamp(0, WHITE)
    ratio = pixels / torch.where(value > 0, value, 1.0)
    return torch.where(value > 0, ratio * brighter, brighter)  # black becomes grey


def reduce_contrast(pixels: Tensor, factor: float) -> Tensor:
    """Multiply the differences from the mean of each image and channel by a factor.

    Args:
        pixels: (B, C, H, W)
        factor: In [0, 1].
    """
    mean = pixels.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
    return (pixels - mean) * factor + mean


def pixelate(pixels: Tensor, factor: float) -> Tensor:
    """Reduce images to a fraction of their size and enlarge them, both with a box filter.

    Args:
        pixels: (B, C, H, W)
        factor: Reduced size divided by the size, in (0, 1]; rounded down, but at least one pixel.
    """
    for axis in (2, 3):
        size = pixels.shape[axis]
        small = max(int(size * factor), 1)
        there_and_back = box_filter(small, size) @ box_filter(size, small)  # (S, S)
        matrix = torch.from_numpy(there_and_back).to(pixels)
        pixels = (pixels.transpose(axis, 3) @ matrix.T).transpose(axis, 3)
    return pixels


def box_filter(size: int, new: int) -> NDArray[np.float64]:
    """Matrix (new, size) that resizes a row of pixels as Pillow's box filter does.

    A new pixel is the mean of the old pixels whose centres are in the part of the row that it
    covers; if it is smaller than an old pixel, it is equal to the one that covers its centre. Of
    two candidates exactly on the borders the right one counts; for some sizes, though not for 28,
    32, 64, 96 and 224, Pillow's rounding decides otherwise.
    """
    # whole numbers, because centres can be on the border: multiples of 1 / (2 new)
    centres = (2 * np.arange(new)[:, None] + 1) * size
    distances = (2 * np.arange(size) + 1) * new - centres  # (new, size)
    reach = max(size, new)
    weights = ((-reach < distances) & (distances <= reach)).astype(np.float64)
    shares: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return shares
