from __future__ import annotations

import pytest
import torch

from lossbench.models import MODELS


@pytest.mark.parametrize("name", ["digits_cnn", "mnist_cnn"])
@pytest.mark.parametrize("feature_dim", [2, 7])
def test_images_become_features(name: str, feature_dim: int) -> None:
    model = MODELS[name].create((3, 32, 32), feature_dim=feature_dim)
    images = torch.rand(4, 3, 32, 32)
    assert model(images).shape == (4, feature_dim)
    assert bool(
        (MODELS[name].create((3, 32, 32), feature_dim=9, feature_relu=True)(images) >= 0).all()
    )


def test_mnist_cnn_has_the_released_sizes() -> None:
    model = MODELS["mnist_cnn"].create((1, 28, 28), feature_dim=100)
    weights = [(*p.shape,) for p in model.parameters() if p.ndim > 1]
    assert weights == [
        (32, 1, 5, 5),
        (32, 32, 3, 3),
        (64, 32, 3, 3),
        (64, 64, 3, 3),
        (128, 64, 3, 3),
        (128, 128, 3, 3),
        (100, 1152),
    ]
    count = sum(p.numel() for p in model.parameters())
    # convolutions with biases, one PReLU slope a channel, the linear layer
    assert count == 832 + 9248 + 18496 + 36928 + 73856 + 147584 + 224 + 115300


@pytest.mark.parametrize(("name", "side"), [("mnist_cnn", 11), ("digits_cnn", 3)])
def test_too_small_images_are_refused(name: str, side: int) -> None:
    with pytest.raises(ValueError, match="needs images of at least"):
        MODELS[name].create((1, side, side), feature_dim=2)
