"""Network of the CIFAR-10 experiments in a paper on label noise."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from lossbench.models.base import MODELS, Backbone, ImageShape, require_side


@MODELS.register("cnn8", reference="Ma et al., ICML 2020")
def cnn8(image_shape: ImageShape, *, feature_dim: Annotated[int, Field(ge=1)] = 256) -> Backbone:
    """Six 3x3 convolutions in three pairs, then a linear layer; the eighth layer is the classifier.

    The pairs have 64, 128 and 196 channels, and each is followed by 2x2 max pooling (sides 32 ->
    16 -> 8 -> 4). Each convolution and the linear layer have biases and are followed by batch
    normalisation and ReLU.

    Args:
        image_shape: (C, H, W), H and W at least 8.
        feature_dim: D, at least 1; 256 in the paper.

    Raises:
        ValueError: The images are too small.

    Reference: Ma, Huang, Wang, Romano, Erfani, Bailey: Normalized Loss Functions for Deep Learning
        with Noisy Labels. ICML 2020. Sizes and initialisation from the authors' released code:
        uniform weights of variance 2 / fan-in (He et al., ICCV 2015) in the convolutions,
        Glorot-uniform weights in the linear layer, biases uniform in +-1 / sqrt(fan-in).

    Deviations: none in these layers. The classifier belongs to the loss, which initialises it; in
        the released code its weights are Glorot-uniform.
    """
    require_side("cnn8", image_shape, 8)
    before, height, width = image_shape
    layers: list[nn.Module] = []
    for after in (64, 128, 196):
        for _ in range(2):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            before = after
        layers.append(nn.MaxPool2d(2))
    flat = before * (height // 8) * (width // 8)
    layers += [nn.Flatten(), nn.Linear(flat, feature_dim), nn.BatchNorm1d(feature_dim), nn.ReLU()]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
    return Backbone(nn.Sequential(*layers), feature_dim)
