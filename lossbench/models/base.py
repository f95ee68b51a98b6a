"""The contract of a model: images (N, C, H, W) -> features (N, D).

A factory takes the image shape (C, H, W); its keyword-only arguments are the model's
parameters. It raises ValueError for images it cannot take.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from lossbench.registry import Registry

ImageShape = tuple[int, int, int]
"""(C, H, W)"""


class Backbone(nn.Module):
    """A network without its classifier.

    Args:
        body: Images (N, C, H, W) -> features (N, D).
        feature_dim: D.
        weights_digest: Of the file that its first weights come from; empty: drawn at random.
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
    """Glorot-uniform weights and zero biases for every convolution and linear layer."""
    for module in modules:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialise_msra(modules: Iterable[nn.Module]) -> None:
    """Normal weights of variance 2 / fan-in (He et al., ICCV 2015) and zero biases."""
    for module in modules:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def require_side(name: str, image_shape: ImageShape, side: int) -> None:
    """Raise ValueError for images that are smaller than side x side."""
    _, height, width = image_shape
    if min(height, width) < side:
        raise ValueError(f"{name} needs images of at least {side}x{side}, not {height}x{width}")
