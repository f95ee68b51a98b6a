"""Augmentation of whole batches on their device; no per-sample Python.

An augmentation maps images (B, C, H, W), uint8, and a CPU generator to images of that shape.
Random numbers are drawn on the CPU, so that every device sees the same augmentations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional as F

from lossbench.registry import Registry

Augmentation = Callable[[Tensor, Generator], Tensor]
AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation")


@AUGMENTATIONS.register("mirror", reference="He et al., CVPR 2016, Sect. 4.2")
def mirror(*, probability: Annotated[float, Field(ge=0, le=1)] = 0.5) -> Augmentation:
    """Flip each image left to right with a probability."""

    def augment(images: Tensor, generator: Generator) -> Tensor:
        flip = torch.rand(len(images), generator=generator) < probability
        return torch.where(flip.to(images.device)[:, None, None, None], images.flip(3), images)

    return augment


@AUGMENTATIONS.register("random_crop", reference="He et al., CVPR 2016, Sect. 4.2")
def random_crop(*, padding: Annotated[int, Field(ge=1)] = 4) -> Augmentation:
    """Pad with black on each side, then crop the original size at a random place."""

    def augment(images: Tensor, generator: Generator) -> Tensor:
        count, _, height, width = images.shape
        offsets = torch.randint(2 * padding + 1, (2, count), generator=generator)
        top, left = offsets.to(images.device)
        padded = F.pad(images, (padding,) * 4)  # (B, C, H + 2P, W + 2P)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, 2P + 1, 2P + 1, H, W)
        return windows[torch.arange(count, device=images.device), :, top, left]

    return augment
