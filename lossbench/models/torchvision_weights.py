"""Initial weights of torchvision's models: download, and loading of a file."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import nn

from lossbench.models.weights import UnusableWeightsError, read_weights, require_weights

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""Names in files of DenseNet from before torch 0.4: `norm.1.weight` instead of `norm1.weight`."""
_HASH = re.compile(r"-([a-f0-9]{8,})\.\w+$")


def weights_names(model: str) -> list[str]:
    """Names of torchvision's weights of a model, such as `IMAGENET1K_V1`."""
    from lossbench.data.torchvision import torchvision

    return [weights.name for weights in torchvision.models.get_model_weights(model)]


def download_weights(model: str, chosen: str | None) -> Path:
    """Download torchvision's weights of a model, unless they are in torch's cache.

    Args:
        model: Name of the model in torchvision.
        chosen: Name of the weights; None for the default ones.

    Returns:
        Path of the file.

    Raises:
        UnusableWeightsError: They cannot be downloaded.
    """
    from lossbench.data.torchvision import torchvision

    weights: Any = torchvision.models.get_model_weights(model)
    url: str = (weights[chosen] if chosen else weights.DEFAULT).url
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if file.is_file():
        return file
    problem = f"{url} cannot be downloaded; give the file as `checkpoint`"
    import requests

    try:  # torch itself would wait without a limit
        requests.head(url, timeout=10)
    except requests.RequestException:
        raise UnusableWeightsError(f"{problem}: no connection") from None
    digest = _HASH.search(url)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            url, str(file), hash_prefix=digest[1] if digest else None, progress=False
        )
    except (OSError, URLError, RuntimeError) as error:  # a wrong hash is a RuntimeError
        reason = str(error).partition("\n")[0][:200]
        raise UnusableWeightsError(f"{problem}: {reason}") from None
    return file


def load_weights(network: nn.Module, file: Path, name: str, ignored: Iterable[str]) -> None:
    """Load the weights of a network without its classifier.

    Args:
        network: The network.
        file: File of torch or safetensors.
        name: Name of the model in messages.
        ignored: Prefixes of weights that were removed from the network, such as the classifier's.

    Raises:
        UnusableWeightsError: The file does not contain the weights of this network.
    """
    weights = OrderedDict(
        (_OLD_DENSENET.sub(r"\1\2", key), tensor) for key, tensor in read_weights(file).items()
    )
    # MNASNet asks for the version of its file, and all files of torchvision have this one
    weights._metadata = {"": {"version": getattr(network, "_version", None)}}  # type: ignore[attr-defined]
    try:
        result = network.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # the message lists every tensor of another shape
        text = str(error).strip().splitlines()[-1].strip()
        raise UnusableWeightsError(f"{file}: does not contain weights of {name}: {text}") from None
    unexpected = [key for key in result.unexpected_keys if not key.startswith(tuple(ignored))]
    require_weights(file, name, result.missing_keys, unexpected)
