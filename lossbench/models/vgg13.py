"""Network of the CIFAR-100 experiments in the L-GM paper."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from lossbench.models.base import MODELS, Backbone, ImageShape, initialise_msra, require_side


@MODELS.register("vgg13", reference="Wan et al., CVPR 2018, Sect. 4.1; Liu et al., ICML 2016")
def vgg13(image_shape: ImageShape, *, width: Annotated[int, Field(ge=1)] = 96) -> Backbone:
    """Thirteen 3x3 convolutions as in VGG, then global average pooling.

    A stem of one convolution, then three stages of four convolutions with 1, 2 and 4 times `width`
    channels; 2x2 max pooling between the stages (sides 32 -> 16 -> 8). Each convolution has no bias
    and is followed by batch normalisation and ReLU. There is no dropout.

    Args:
        image_shape: (C, H, W), H and W at least 4.
        width: Number of channels of the stem and the first stage, at least 1; 96 in the papers.
            Features have 4 * width dimensions, 384 in the paper.

    Raises:
        ValueError: The images are too small.

    Reference: Wan et al., CVPR 2018, Sect. 4.1, after Liu et al., ICML 2016, Table 1; channels
        and the absence of biases from the authors' released CIFAR-100 configuration.

    Deviations: no third max pooling before the global average pooling that replaces the fully
        connected layer of Liu et al., because the L-GM paper does not mention one.
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
                nn.ReLU(inplace=True),
            ]
            before = after
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*layers)
    initialise_msra(network)
    return Backbone(network, before)
