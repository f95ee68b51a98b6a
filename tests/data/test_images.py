from __future__ import annotations

import itertools

import pytest
import torch

from lossbench.data.images import View
from lossbench.data.torchvision import functional

CROP = 5


@pytest.mark.parametrize("crop", [CROP, CROP + 1])
@pytest.mark.parametrize("vertical", range(21))
def test_central_crop_equals_that_of_torchvision(vertical: int, crop: int) -> None:
    for horizontal in range(21):
        height, width = crop + vertical, crop + horizontal
        image = torch.arange(height * width).view(1, height, width)
        view = View(crop=crop)
        assert torch.equal(view.cropped(image), functional.center_crop(image, [crop]))
        assert torch.equal(view.cropped(image), view.ten_crops(image)[4])
        assert view.margins((1, height, width)) == (vertical, horizontal)


@pytest.mark.parametrize("resize", [4, 7, 31, 32])
def test_size_after_resizing_equals_that_of_torchvision(resize: int) -> None:
    for height, width in itertools.product(range(3, 60, 4), range(3, 60, 5)):
        view = View(resize=resize)
        resized = view.resized(torch.zeros(3, height, width, dtype=torch.uint8))
        assert view.shape((3, height, width)) == tuple(resized.shape)
