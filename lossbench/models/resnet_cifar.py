"""Residual networks for 32x32 images."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lossbench.errors import ParameterError, Problem
from lossbench.models.base import MODELS, Backbone, ImageShape, initialise_msra, require_side


class Block(nn.Module):
    """Two 3x3 convolutions with an identity shortcut around them.

    Where the block halves the feature maps and doubles the channels, the shortcut selects every
    second pixel and pads the new channels with zeros, without parameters ("option A").
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.stride, self.new_channels = stride, after - before

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.stride > 1 or self.new_channels:  # padding by nothing would copy
            pixels = x[:, :, :: self.stride, :: self.stride]
            shortcut = F.pad(pixels, (0, 0, 0, 0, 0, self.new_channels))
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        x = self.norm2(self.conv2(x))
        x += shortcut
        return F.relu(x, inplace=True)


@MODELS.register("resnet_cifar", reference="He et al., CVPR 2016, Sect. 4.2")
def resnet_cifar(
    image_shape: ImageShape,
    *,
    depth: Annotated[int, Field(ge=8)] = 20,
    width: Annotated[int, Field(ge=1)] = 16,
) -> Backbone:
    """ResNet for CIFAR: a 3x3 convolution, three stages of residual blocks, global pooling.

    Args:
        image_shape: (C, H, W), H and W at least 4.
        depth: Number of layers with weights, including the classifier, of the form 6n + 2, at
            least 8; 20, 56 and 110 in the papers.
        width: Number of channels of the first stage, at least 1; the others have 2 and 4 times as
            many. Features have 4 * width dimensions, 64 in the papers.

    Raises:
        ParameterError: `depth` is not of the form 6n + 2.
        ValueError: The images are too small.

    Reference: He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016.
        Weights are initialised as in He et al., ICCV 2015, as the L-GM paper says.

    Deviations: none known.
    """
    if depth % 6 != 2:
        near = depth - (depth - 2) % 6
        problem = Problem(("depth",), f"should be 6n + 2, such as {near} or {near + 6}")
        raise ParameterError("resnet_cifar", [problem])
    require_side("resnet_cifar", image_shape, 4)
    layers: list[nn.Module] = [
        nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]
    before = width
    for stage in range(3):
        after = width * 2**stage
        for block in range((depth - 2) // 6):
            layers.append(Block(before, after, stride=2 if stage and not block else 1))
            before = after
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*layers)
    initialise_msra(network.modules())
    return Backbone(network, before)
