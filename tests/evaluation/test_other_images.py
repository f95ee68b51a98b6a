from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from lossbench.data.images import View
from lossbench.data.loading import load_dataset
from lossbench.evaluation.base import Trained
from lossbench.evaluation.other_images import OtherImages
from tests.evaluation.trained_model import (
    DIMENSIONS,
    SCALE,
    make_head,
    make_trained,
)


def test_other_images_are_converted_to_the_form_of_the_measured(tmp_path: Path) -> None:
    """Digits of 8x8 and one channel against images 3x4 of one channel."""
    trained = make_trained(make_head("lgm"))
    found = OtherImages(dataset="digits")(trained)
    assert len(found.arrays["detection_other_digits"]["posterior_other"]) == 597
    assert set(found.values) == {f"other_digits_{key}" for key in ("eer", "auroc", "fpr95")}


@pytest.mark.parametrize(
    ("own", "other", "message"),
    [
        (2, 3, "mine2: its images have 3 channels, those of mine1 2; only 1 and 3"),
        (3, 4, "mine2: its images have 4 channels, those of mine1 3; only 1 and 3"),
        (1, 4, "mine2: its images have 4 channels, those of mine1 1; only 1 and 3"),
        (1, 3, ""),
        (3, 1, ""),
        (4, 4, ""),
    ],
)
def test_other_images_with_unsuitable_channels_are_refused_before_the_training(
    tmp_path: Path, make_folder: Callable[..., Path], own: int, other: int, message: str
) -> None:
    root = make_folder("mine1", channels=own).parent
    make_folder("mine2", channels=other, train=63)  # else two of the same digest
    dataset, evaluation = load_dataset("mine1", root), OtherImages(dataset="mine2")
    if message:
        with pytest.raises(ValueError, match=message):
            evaluation.check(dataset, View(), root)
        return
    assert evaluation.check(dataset, View(), root).keys() == {"mine2"}
    images = dataset.splits["test"].to_device(torch.device("cpu"), View())
    model = nn.Sequential(nn.Flatten(), nn.Linear(own * 64, DIMENSIONS))
    trained = Trained(model, make_head("softmax"), SCALE, images, images, root, 0)
    assert evaluation(trained).values.keys() == {
        f"other_mine2_{k}" for k in ("eer", "auroc", "fpr95")
    }
