"""Residual network of the face verification experiments in the L-GM paper."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from lossbench.models.base import MODELS, Backbone, ImageShape, initialise_xavier, require_side


class Block(nn.Module):
    """Residual block: two 3x3 convolutions with PReLU, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.last = nn.Conv2d(channels, channels, 3, padding=1)
        self.residual = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.PReLU(channels),
            self.last,
            nn.PReLU(channels),
        )

    @torch.no_grad()
    def scale_branch(self, factor: float) -> None:
        """Multiply the weights of the last convolution; called when weights are initialised."""
        self.last.weight.mul_(factor)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.residual(x)
        return added


@MODELS.register("face_resnet", reference="Wan et al., CVPR 2018, Sect. 4.2; Wen et al., ECCV 2016")
def face_resnet(
    image_shape: ImageShape,
    *,
    feature_dim: Annotated[int, Field(ge=1)] = 512,
    width: Annotated[int, Field(ge=1)] = 32,
) -> Backbone:
    """A residual network of 27 convolutions with PReLU, without normalisation or dropout.

    Two convolutions (w, 2w channels), then four stages of residual blocks with 2w, 4w, 8w and 16w
    channels: 1, 2, 5 and 3 blocks of two convolutions. A further convolution precedes each stage
    after the first, 2x2 max pooling precedes every stage, and a linear layer gives the features.

    Args:
        image_shape: (C, H, W), H and W at least 16; 120x120 in the paper.
        feature_dim: D, at least 1; 512 in the paper.
        width: Number of channels w of the first convolution, at least 1; 32 in the paper's source.

    Raises:
        ValueError: The images are too small.

    Reference: the L-GM paper names 27 convolutions, PReLU and 512 dimensions; the layers are
        those of the 27-convolution face network that came with the center loss (Wen et al.).

    Deviations:
        - Every convolution has padding 1, so that each stage halves the side; the center-loss
          network has none in its first two convolutions and those between the stages.
        - Weights are Glorot-uniform, and those of a block's second convolution are divided by the
          square root of the number of blocks, because without normalisation the activations would
          grow with each of the eleven blocks. The paper specifies no initialisation; the
          center-loss network used Gaussian weights of fixed standard deviation in the blocks.
    """
    require_side("face_resnet", image_shape, 16)
    channels, height, width_px = image_shape
    blocks = (1, 2, 5, 3)
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.PReLU(width)]
    before = width
    for stage, count in enumerate(blocks):
        after = width * 2 ** (stage + 1)
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.PReLU(after), nn.MaxPool2d(2)]
        layers += [Block(after) for _ in range(count)]
        before = after
    layers += [nn.Flatten(), nn.Linear(before * (height // 16) * (width_px // 16), feature_dim)]
    network = nn.Sequential(*layers)
    initialise_xavier(network.modules())
    for module in network:
        if isinstance(module, Block):
            module.scale_branch(1 / math.sqrt(sum(blocks)))
    return Backbone(network, feature_dim)
