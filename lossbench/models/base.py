"""Contract of a model: images (N, C, H, W) -> features (N, D).

A factory has one positional argument, the image shape (C, H, W); its keyword-only arguments are
the parameters of the model. It returns a `Backbone`, or another module with an attribute
`feature_dim`. It raises ValueError for image shapes that the model does not support.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from lossbench.errors import UnusableComponentError
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


MODELS: Registry[Backbone] = Registry("model", group="lossbench.models")


def create_model(name: str, image_shape: ImageShape, params: Mapping[str, Any]) -> Backbone:
    """Create a registered model.

    Args:
        name: Name in the registry.
        image_shape: (C, H, W)
        params: Parameters of the model.

    Raises:
        ParameterError: As for `Entry.create`.
        UnusableComponentError: The factory returns something else than a model.
        ValueError: The model does not support the image shape.
    """
    made: Any = MODELS[name].create(image_shape, **params)
    if isinstance(made, Backbone):
        return made
    if not isinstance(made, nn.Module):
        raise UnusableComponentError(
            f"gives {type(made).__name__}; should give a torch.nn.Module that maps images "
            "(N, C, H, W) to features (N, D)"
        )
    dimensions = getattr(made, "feature_dim", None)
    if not isinstance(dimensions, int) or dimensions < 1:
        raise UnusableComponentError(
            "the module needs an integer attribute feature_dim, the number D of its features: set "
            "self.feature_dim, or return lossbench.models.Backbone(module, D)"
        )
    return Backbone(made, dimensions)


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
