"""The network of the L-GM paper's CIFAR-100 experiments."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from lossbench.models.base import MODELS, Backbone, ImageShape, initialise_msra, require_side


@MODELS.register("vgg13", reference="Wan et al., CVPR 2018, Sect. 4.1; Liu et al., ICML 2016")
def vgg13(image_shape: ImageShape, *, width: Annotated[int, Field(ge=1)] = 96) -> Backbone:
    """Thirteen 3x3 convolutions in the manner of VGG, then global average pooling.

    A stem, then four convolutions each with 1, 2 and 4 times `width` channels; 2x2 max pooling
    between these stages: 32 -> 16 -> 8. Each convolution is followed by batch normalisation and
    ReLU, and has no bias. No dropout.

    Args:
        image_shape: (C, H, W), H and W at least 4.
        width: Channels of the stem and the first stage; the papers have 96. The feature has
            4 * width dimensions, 384 in the paper.

    Reference: Wan et al., CVPR 2018, Sect. 4.1, after Liu et al., ICML 2016, Table 1; channels
        and the absence of biases from the authors' released CIFAR-100 configuration.

    Deviations: the L-GM paper replaces its source's fully connected layer by global average
        pooling; a third max pooling before that is not mentioned, and is left out.
    """
    require_side("vgg13", image_shape, 4)
    layers: list[nn.Module] = []
    before = image_shape[0]
    for stage, convolutions in enumerate((5, 4, 4)):  # the stem belongs to the first stage
        after = width * 2**stage
        if stage:
            layers.append(nn.MaxPool2d(2))
        for _ in range(convolutions):
            layers += [
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
            before = after
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*layers)
    initialise_msra(network)
    return Backbone(network, before)
