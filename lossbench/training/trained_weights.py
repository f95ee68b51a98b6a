"""Weights of a trained model and its head as a file that is read without executing code."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping

import torch
from torch import Tensor, nn

Weights = Mapping[str, Mapping[str, Tensor]]
"""Parameters and buffers of `model` and `head` by their names, on the CPU."""


def weights_of(model: nn.Module, head: nn.Module) -> Weights:
    """Parameters and buffers of a model and its head."""
    return {
        part: {name: tensor.cpu() for name, tensor in module.state_dict().items()}
        for part, module in (("model", model), ("head", head))
    }


def read_weights(content: bytes) -> Weights:
    """Read weights, which may come from anybody: no code is executed.

    Args:
        content: Content of a file that `torch.save` wrote.

    Raises:
        ValueError: It is no plain file of weights, or has tensors that are larger than the file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:  # it may not expand
            plain = all(entry.compress_type == zipfile.ZIP_STORED for entry in file.infolist())
        if plain:
            weights = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception:  # the parsers raise various types
        plain = False
    if not plain:
        raise ValueError("is no plain file of weights") from None
    if not isinstance(weights, dict) or set(weights) != {"model", "head"}:
        raise ValueError("does not have the weights of a model and a head")
    for part in weights.values():
        if not isinstance(part, Mapping) or not all(isinstance(t, Tensor) for t in part.values()):
            raise ValueError("does not have the weights of a model and a head")
        if not all(isinstance(name, str) and _is_plain(t, content) for name, t in part.items()):
            raise ValueError("has tensors that are not plain, or larger than the file")
    return weights


def _is_plain(tensor: Tensor, content: bytes) -> bool:
    """Whether a tensor is one of numbers that are all in the file."""
    return (
        tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_quantized or tensor.is_complex())
        and tensor.numel() * tensor.element_size() <= len(content)
    )


def weights_digest(weights: Weights) -> str:
    """Digest of the names, types, shapes and values of weights."""
    digest = hashlib.sha256()
    for part, tensors in sorted(weights.items()):
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
            digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
