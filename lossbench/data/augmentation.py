"""Augmentations of whole batches on their device.

The argument of a factory is the side of the crop that the model sees, or None for the size of the
image. An augmentation maps images (B, C, H, W), uint8, and a CPU generator to images. Random
numbers are drawn on the CPU, so that the augmentations are the same on every device.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional as F

from lossbench.data.images import Augment
from lossbench.data.torchvision_augmentations import placeholder_entry, v2_entry
from lossbench.data.torchvision_transforms import UNSUPPORTED, transform_names
from lossbench.registry import Registry

WIDEST = 4 / 3
"""Largest aspect ratio, width to height, of a random part; the smallest is its inverse."""
AUGMENTATIONS: Registry[Augment] = Registry("augmentation", group="lossbench.augmentations")


@AUGMENTATIONS.register("mirror", reference="He et al., CVPR 2016, Sect. 4.2")
def mirror(_: int | None, *, probability: Annotated[float, Field(ge=0, le=1)] = 0.5) -> Augment:
    """Mirror each image left to right with a probability.

    Args:
        probability: In [0, 1].
    """

    def augment(images: Tensor, generator: Generator) -> Tensor:
        flip = torch.rand(len(images), generator=generator) < probability
        chosen = flip.nonzero().squeeze(1).to(images.device)
        pixels = images.permute(0, 2, 3, 1)  # (B, H, W, C), in memory order
        mirrored = pixels.index_select(0, chosen).flip(2)
        return pixels.index_copy(0, chosen, mirrored).permute(0, 3, 1, 2)

    return augment


@AUGMENTATIONS.register("random_crop", reference="He et al., CVPR 2016, Sect. 4.2")
def random_crop(crop: int | None, *, padding: Annotated[int, Field(ge=0)] = 4) -> Augment:
    """Pad with black on each side, then crop at a random position.

    Args:
        crop: Side of the crop; None for the size of the image.
        padding: Number of pixels to pad on each side, >= 0.
    """

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
        # each row of a crop is contiguous in memory and identified by its start
        pieces = wide.view(-1).unfold(0, taken, 1)
        starts = torch.arange(count, device=images.device) * rows + top  # (B,)
        starts = starts[:, None] + torch.arange(out[0], device=images.device)  # (B, H)
        starts = starts * row + left[:, None] * channels
        crops = pieces.index_select(0, starts.view(-1))  # (B H, W C)
        return crops.view(count, *out, channels).permute(0, 3, 1, 2)

    return augment


@AUGMENTATIONS.register("random_resized_crop", reference="Szegedy et al., CVPR 2015, Sect. 6")
class RandomResizedCrop:
    """Crop a random part of random shape, and resize it to the size that the model sees.

    Its area is a share of the image's, uniform in [`min_area`, 1]; its aspect ratio is in
    [3/4, 4/3], uniform in its logarithm. After ten draws that do not fit into the image, it is the
    largest central part with a ratio in this range: the whole image, if its ratio is in the range.

    If it is the first augmentation, it is applied to the whole image, which is then not resized to
    `recipe.input.resize` first. Torchvision's transform of this name does the same, but draws from
    the global generator.

    Args:
        crop: Side of the result; None for the size of the image.
        min_area: Smallest share of the image's area, in (0, 1].
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
    """Top, left, height and width of the largest central part with a ratio in [3/4, 4/3]."""
    h, w = height, width
    if width / height < 1 / WIDEST:
        h = round(width * WIDEST)
    elif width / height > WIDEST:
        w = round(height * WIDEST)
    return (height - h) // 2, (width - w) // 2, h, w


AUGMENTATIONS.register_prefix("v2", v2_entry, transform_names, placeholder_entry(), UNSUPPORTED)
