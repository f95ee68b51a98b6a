"""Small network for 8x8 digits, similar to the MNIST network at a fraction of its cost."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from lossbench.models.base import MODELS, Backbone, ImageShape, initialise_xavier, require_side


@MODELS.register("digits_cnn")
def digits_cnn(
    image_shape: ImageShape,
    *,
    feature_dim: Annotated[int, Field(ge=1)] = 2,
    feature_relu: bool = False,
) -> Backbone:
    """Four 3x3 convolutions in two pairs (16, 32 channels), then a linear layer.

    In each pair, the first convolution is followed by PReLU, the second by 2x2 max pooling and
    PReLU. PReLU has one slope per channel, initialised to 0.25.

    Args:
        image_shape: (C, H, W), H and W at least 4.
        feature_dim: D, at least 1.
        feature_relu: Whether a ReLU follows the linear layer.

    Raises:
        ValueError: The images are too small.

    Reference: none; designed for lossbench, based on `mnist_cnn`.
    """
    channels, height, width = image_shape
    require_side("digits_cnn", image_shape, 4)
    layers: list[nn.Module] = []
    for before, after in ((channels, 16), (16, 32)):
        layers += [
            nn.Conv2d(before, after, 3, padding=1),
            nn.PReLU(after),
            nn.Conv2d(after, after, 3, padding=1),
            nn.MaxPool2d(2),
            nn.PReLU(after),
        ]
    layers += [nn.Flatten(), nn.Linear(32 * (height // 4) * (width // 4), feature_dim)]
    if feature_relu:
        layers.append(nn.ReLU())
    network = nn.Sequential(*layers)
    initialise_xavier(network)
    return Backbone(network, feature_dim)
