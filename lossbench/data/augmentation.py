"""Augmentation of whole batches on their device; no per-sample Python but where sizes differ.

A factory takes the side of the crop that the model sees, or None for the image's own size. An
augmentation maps images (B, C, H, W), uint8, and a CPU generator to images. Random numbers are
drawn on the CPU, so that every device sees the same augmentations.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional as F

from lossbench.data.images import Augment
from lossbench.registry import Registry

WIDEST = 4 / 3
"""Aspect ratio, width to height, of the widest random part; the narrowest has its inverse."""
AUGMENTATIONS: Registry[Augment] = Registry("augmentation")


@AUGMENTATIONS.register("mirror", reference="He et al., CVPR 2016, Sect. 4.2")
def mirror(_: int | None, *, probability: Annotated[float, Field(ge=0, le=1)] = 0.5) -> Augment:
    """Flip each image left to right with a probability."""

    def augment(images: Tensor, generator: Generator) -> Tensor:
        flip = torch.rand(len(images), generator=generator) < probability
        chosen = flip.nonzero().squeeze(1).to(images.device)
        pixels = images.permute(0, 2, 3, 1)  # (B, H, W, C), as they lie in memory
        mirrored = pixels.index_select(0, chosen).flip(2)
        return pixels.index_copy(0, chosen, mirrored).permute(0, 3, 1, 2)

    return augment


@AUGMENTATIONS.register("random_crop", reference="He et al., CVPR 2016, Sect. 4.2")
def random_crop(crop: int | None, *, padding: Annotated[int, Field(ge=0)] = 4) -> Augment:
    """Pad with black on each side, then crop at a random place: `recipe.input.crop`, or all."""

    def augment(images: Tensor, generator: Generator) -> Tensor:
        count, _, height, width = images.shape
        out = (height, width) if crop is None else (crop, crop)
        places = [
            side + 2 * padding - taken + 1 for side, taken in zip((height, width), out, strict=True)
        ]
        top, left = (
            torch.randint(number, (count,), generator=generator).to(images.device)
            for number in places
        )
        wide = F.pad(images.permute(0, 2, 3, 1), (0, 0, *(padding,) * 4)).contiguous()
        rows, row = wide.shape[1], wide[0, 0].numel()
        channels, taken = wide.shape[3], out[1] * wide.shape[3]
        # each row of a crop is one piece of memory, found by where it starts
        pieces = wide.view(-1).unfold(0, taken, 1)
        starts = torch.arange(count, device=images.device) * rows + top  # (B,)
        starts = starts[:, None] + torch.arange(out[0], device=images.device)  # (B, H)
        starts = starts * row + left[:, None] * channels
        crops = pieces.index_select(0, starts.view(-1))  # (B H, W C)
        return crops.view(count, *out, channels).permute(0, 3, 1, 2)

    return augment


@AUGMENTATIONS.register("random_resized_crop", reference="Szegedy et al., CVPR 2015, Sect. 6")
class RandomResizedCrop:
    """Crop a random part of random shape, and bring it to the size that the model sees.

    Its area is `min_area` to 1 of the image's, its aspect ratio 3/4 to 4/3, uniform in its
    logarithm. After ten draws that do not fit into the image it is the largest central part of
    such a ratio: the whole image, if its own ratio is in the range.

    If it is the first augmentation it sees the whole image, not one that is resized to
    `recipe.input.resize` before. Torchvision's transform of that name does the same; it draws
    from the global generator.
    """

    takes_whole_image = True

    def __init__(
        self, crop: int | None, *, min_area: Annotated[float, Field(gt=0, le=1)] = 0.08
    ) -> None:
        self.crop, self.min_area = crop, min_area

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        from lossbench.data.torchvision import functional

        out = list(images.shape[2:]) if self.crop is None else [self.crop, self.crop]
        parts = [
            functional.resized_crop(
                image, *self._draw(image.shape[1], image.shape[2], generator), out, antialias=True
            )
            for image in images
        ]
        return torch.stack(parts)

    def _draw(self, height: int, width: int, generator: Generator) -> tuple[int, int, int, int]:
        """Top, left, height and width of the part."""
        for _ in range(10):
            area, shape, down, right = torch.rand(4, generator=generator).tolist()
            target = (self.min_area + (1 - self.min_area) * area) * height * width
            ratio = math.exp((2 * shape - 1) * math.log(WIDEST))
            w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
            if 0 < w <= width and 0 < h <= height:
                return int(down * (height - h + 1)), int(right * (width - w + 1)), h, w
        return central_part(height, width)


def central_part(height: int, width: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of the largest central part whose aspect ratio is 3/4 to 4/3."""
    h, w = height, width
    if width / height < 1 / WIDEST:
        h = round(width * WIDEST)
    elif width / height > WIDEST:
        w = round(height * WIDEST)
    return (height - h) // 2, (width - w) // 2, h, w
