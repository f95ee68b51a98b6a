"""The contract of a model: images (N, C, H, W) -> features (N, D).

A factory takes the image shape (C, H, W); its keyword-only arguments are the model's
parameters, `feature_dim` among them. It raises ValueError for images it cannot take.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from lossbench.registry import Registry

ImageShape = tuple[int, int, int]
"""(C, H, W)"""

MODELS: Registry[nn.Module] = Registry("model")


def initialise_xavier(modules: Iterable[nn.Module]) -> None:
    """Glorot-uniform weights and zero biases for every convolution and linear layer."""
    for module in modules:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
