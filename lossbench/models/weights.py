"""Files of weights that a model starts from."""

from __future__ import annotations

import functools
import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts, this one too, keep the weights of the model."""
PREFIXES = ("module.", "body.")
"""What a parallel training and a `Backbone` put before names."""


class UnusableWeights(Exception):
    """A file of weights is not there, or does not fit."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by their names in a file of safetensors or of torch; no code in it is run.

    Raises:
        UnusableWeights: It has none.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UnusableWeights(
            f"{path}: is damaged, or has more than weights; save the state_dict only"
        ) from None
    except Exception:  # both libraries raise what their parsers happen to raise
        raise UnusableWeights(f"{path}: is no file of weights of torch or safetensors") from None
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    named = content.items() if isinstance(content, Mapping) else ()
    weights = {name: tensor for name, tensor in named if isinstance(tensor, Tensor)}
    if not weights:
        raise UnusableWeights(f"{path}: has no weights by name; save the state_dict of a model")
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in weights):
            weights = {key.removeprefix(prefix): tensor for key, tensor in weights.items()}
    return weights


def file_digest(path: Path) -> str:
    """Hash of a file's content."""
    state = path.stat()
    return _file_digest(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _file_digest(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def downloaded(known: Any) -> Path:
    """The file of timm's weights of a model, from the hub's cache, or downloaded into it.

    Args:
        known: What timm knows of them (its `PretrainedCfg`); None: nothing.

    Raises:
        UnusableWeights: There are none in timm's own form, or the hub cannot be reached.
    """
    if known is None or not known.hf_hub_id or known.custom_load:
        raise UnusableWeights(
            "timm has no weights of it that can be downloaded: pretrained is false"
        )
    import huggingface_hub
    import requests

    file = known.hf_hub_filename or "model.safetensors"
    get = functools.partial(huggingface_hub.hf_hub_download, known.hf_hub_id, file)
    try:
        return Path(get(local_files_only=True))
    except Exception:  # not in the cache
        pass
    lost = f"{known.hf_hub_id}, {file} cannot be downloaded; give the file as `checkpoint`"
    hub = huggingface_hub.constants.ENDPOINT
    try:  # the library itself tries for a minute, and tells of each try
        requests.head(hub, timeout=10)
    except requests.RequestException:
        raise UnusableWeights(f"{lost}: there is no connection to {hub}") from None
    try:
        return Path(get())
    except Exception as error:  # the hub's errors, and those of several libraries below it
        raise UnusableWeights(f"{lost}: {str(error).partition(chr(10))[0][:200]}") from None
