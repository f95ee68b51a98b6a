"""Models for vectors, such as precomputed embeddings. Images are flattened."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import nn

from lossbench.models.base import MODELS, Backbone, ImageShape, initialise_msra

Width = Annotated[int, Field(ge=1, le=1_000_000)]
VECTOR_MODELS = ("identity", "mlp")


@MODELS.register("identity")
def identity(image_shape: ImageShape) -> Backbone:
    """No model: the inputs are the features, and only the head is trained.

    Loss terms that only act on features (center, contrastive, triplet) have no effect then; only
    the softmax term of such a loss is trained.

    Args:
        image_shape: (C, H, W)
    """
    return Backbone(nn.Flatten(), math.prod(image_shape))


@MODELS.register("mlp")
def mlp(
    image_shape: ImageShape,
    *,
    feature_dim: Width = 2,
    hidden: list[Width] = [],  # noqa: B006
) -> Backbone:
    """Multilayer perceptron: linear layers with ReLU between them.

    Args:
        image_shape: (C, H, W)
        feature_dim: D, from 1 to 1,000,000.
        hidden: Widths of the hidden layers, each from 1 to 1,000,000; an empty list gives one
            linear projection.
    """
    widths = [math.prod(image_shape), *hidden, feature_dim]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    initialise_msra(network)
    return Backbone(network, feature_dim)
