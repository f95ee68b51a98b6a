"""Contract of a model: images (N, C, H, W) -> features (N, D).

A factory has one positional argument, the image shape (C, H, W); its keyword-only arguments are
the parameters of the model. It raises ValueError for image shapes that the model does not support.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from lossbench.registry import Registry

ImageShape = tuple[int, int, int]
"""(C, H, W)"""


class Backbone(nn.Module):
    """Network without its classifier.

    Args:
        body: Module that maps images (N, C, H, W) to features (N, D).
        feature_dim: D, at least 1.
        weights_digest: Digest of the file with the initial weights; empty for random weights.
    """

    def __init__(self, body: nn.Module, feature_dim: int, weights_digest: str = "") -> None:
        super().__init__()
        self.body = body
        self.feature_dim = feature_dim
        self.weights_digest = weights_digest

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(images)  # (N, D)
        return features


MODELS: Registry[Backbone] = Registry("model")


def initialise_xavier(modules: Iterable[nn.Module]) -> None:
    """Set Glorot-uniform weights and zero biases in every convolution and linear layer."""
    for module in modules:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialise_msra(modules: Iterable[nn.Module]) -> None:
    """Set normal weights of variance 2 / fan-in (He et al., ICCV 2015) and zero biases."""
    for module in modules:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def require_side(name: str, image_shape: ImageShape, side: int) -> None:
    """Require images of a minimum size.

    Args:
        name: Name of the model in messages.
        image_shape: (C, H, W)
        side: Smallest height and width, in pixels.

    Raises:
        ValueError: The images are smaller than side x side.
    """
    _, height, width = image_shape
    if min(height, width) < side:
        raise ValueError(f"{name} needs images of at least {side}x{side}, not {height}x{width}")
