"""Weights of a trained model and its head as a file that is read without executing code."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lossbench.training.checkpoints import UNREADABLE

Weights = Mapping[str, Mapping[str, Tensor]]
"""Parameters and buffers of `model` and `head` by their names, on the CPU."""


def weights_of(model: nn.Module, head: nn.Module) -> Weights:
    """Parameters and buffers of a model and its head."""
    return {
        part: {name: tensor.cpu() for name, tensor in module.state_dict().items()}
        for part, module in (("model", model), ("head", head))
    }


def read_weights(content: bytes) -> Weights:
    """Read weights.

    Args:
        content: Content of a file that `torch.save` wrote.

    Raises:
        ValueError: It is no plain file of weights.
    """
    try:
        weights = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except UNREADABLE:
        raise ValueError("is no plain file of weights") from None
    if not isinstance(weights, dict) or set(weights) != {"model", "head"}:
        raise ValueError("does not have the weights of a model and a head")
    for part in weights.values():
        if not isinstance(part, Mapping) or not all(isinstance(t, Tensor) for t in part.values()):
            raise ValueError("does not have the weights of a model and a head")
    return weights


def weights_digest(weights: Weights) -> str:
    """Digest of the names, types, shapes and values of weights."""
    digest = hashlib.sha256()
    for part, tensors in sorted(weights.items()):
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
            digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
