"""Network of the MNIST experiments in the L-GM paper."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from lossbench.models.base import MODELS, Backbone, ImageShape, initialise_xavier, require_side


@MODELS.register("mnist_cnn", reference="Wan et al., CVPR 2018, Sect. 4.1")
def mnist_cnn(
    image_shape: ImageShape,
    *,
    feature_dim: Annotated[int, Field(ge=1)] = 2,
    feature_relu: bool = False,
) -> Backbone:
    """Six convolutions in three pairs (32, 64, 128 channels), then a linear layer.

    The first convolution is 5x5 without padding, the others are 3x3 with padding 1; each pair is
    followed by 2x2 max pooling and PReLU. Sides of an MNIST image: 28 -> 24 -> 12 -> 6 -> 3.

    Args:
        image_shape: (C, H, W), H and W at least 12.
        feature_dim: D, at least 1; 2 and 100 in the paper.
        feature_relu: Whether a ReLU follows the linear layer; in the paper it follows the 100-D
            features.

    Raises:
        ValueError: The images are too small.

    Reference: Wan et al., CVPR 2018, Sect. 4.1; sizes from the authors' released code.

    Deviations: none known. The paper specifies neither sizes nor initialisation. As in the authors'
        MNIST configuration, weights are Glorot-uniform; biases are 0, and PReLU has one slope per
        channel, initialised to 0.25.
    """
    channels, height, width = image_shape
    require_side("mnist_cnn", image_shape, 12)
    layers: list[nn.Module] = []
    for before, after, kernel, padding in (
        (channels, 32, 5, 0),
        (32, 64, 3, 1),
        (64, 128, 3, 1),
    ):
        layers += [
            nn.Conv2d(before, after, kernel, padding=padding),
            nn.Conv2d(after, after, 3, padding=1),
            nn.MaxPool2d(2),
            nn.PReLU(after),
        ]
    side = ((height - 4) // 8) * ((width - 4) // 8)
    layers += [nn.Flatten(), nn.Linear(128 * side, feature_dim)]
    if feature_relu:
        layers.append(nn.ReLU())
    network = nn.Sequential(*layers)
    initialise_xavier(network)
    return Backbone(network, feature_dim)
