from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Generator

from lossbench.data.augmentation import AUGMENTATIONS, central_part
from lossbench.data.torchvision import torchvision

RATIO = (3 / 4, 4 / 3)


def torchvisions(height: int, width: int, scale: tuple[float, float]) -> tuple[int, ...]:
    image = torch.zeros(1, height, width, dtype=torch.uint8)
    return tuple(torchvision.transforms.RandomResizedCrop.get_params(image, scale, RATIO))


def test_central_part_equals_that_of_torchvision() -> None:
    """Areas of nine images fit in none, so that torchvision falls back at once."""
    for height in (1, 2, 3, 5, 17, 64, 224, 375, 500):
        for width in range(1, 700, 13):
            expected = torchvisions(height, width, (9.0, 9.0))
            top, left, h, w = central_part(height, width)
            assert (top, left, h, w) == expected


@pytest.mark.parametrize("size", [(375, 500), (500, 375), (64, 64), (300, 100)])
@pytest.mark.parametrize("min_area", [0.08, 0.8, 0.95, 1.0])
def test_random_parts_are_distributed_as_in_torchvision(
    size: tuple[int, int], min_area: float
) -> None:
    crop = AUGMENTATIONS["random_resized_crop"].create(8, min_area=min_area)
    generator = Generator().manual_seed(0)
    torch.manual_seed(0)
    own = np.array([crop._draw(*size, generator) for _ in range(2000)])  # type: ignore[attr-defined]
    other = np.array([torchvisions(*size, (min_area, 1.0)) for _ in range(2000)])
    without_draw = np.array(central_part(*size))
    shares = [float((drawn == without_draw).all(1).mean()) for drawn in (own, other)]
    assert shares[0] == pytest.approx(shares[1], abs=0.05)
    areas = [drawn[:, 2] * drawn[:, 3] / (size[0] * size[1]) for drawn in (own, other)]
    assert areas[0].mean() == pytest.approx(areas[1].mean(), abs=0.02)
    assert areas[0].std() == pytest.approx(areas[1].std(), abs=0.02)
