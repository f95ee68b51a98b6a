"""Models of vectors, such as embeddings that were computed before. Images become one row."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import nn

from lossbench.models.base import MODELS, Backbone, ImageShape, initialise_msra

Width = Annotated[int, Field(ge=1, le=1_000_000)]
OF_VECTORS = ("identity", "mlp")


@MODELS.register("identity")
def identity(image_shape: ImageShape) -> Backbone:
    """No model: what goes in are the features, and only the head is trained.

    A term of the loss that moves features and has no parameters in the head (center, contrastive,
    triplet) has nothing to move then: what is left of such a loss is its softmax.

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
    """Linear layers, with a ReLU between them.

    Args:
        image_shape: (C, H, W)
        feature_dim: D.
        hidden: Widths of the layers before; none: one linear projection.
    """
    widths = [math.prod(image_shape), *hidden, feature_dim]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    initialise_msra(network)
    return Backbone(network, feature_dim)
