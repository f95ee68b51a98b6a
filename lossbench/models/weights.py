"""Files with initial weights of a model."""

from __future__ import annotations

import functools
import hashlib
import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from lossbench.errors import ParameterError, Problem
from lossbench.registry import user_path

WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts, including lossbench, save the weights of the model."""
PREFIXES = ("module.", "body.")
"""Prefixes of parameter names: from a parallel training, and from `Backbone`."""

Rate = Annotated[float, Field(ge=0, lt=1)]
"""Rate of dropout."""


def _file(path: str) -> str:
    file = user_path(path).resolve()
    if not file.is_file():
        raise ValueError(f"{file}: no such file")
    return str(file)  # absolute, because workers run in another folder


WeightsFile = Annotated[str, AfterValidator(_file)]
"""Path of an existing file."""


class UnusableWeightsError(Exception):
    """A weights file is missing or does not fit the model."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors or torch file by name, without running code in it.

    Args:
        path: Weights file.

    Raises:
        UnusableWeightsError: The file has no named weights.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UnusableWeightsError(
            f"{path}: is damaged, or contains more than weights; save only the state_dict"
        ) from None
    except Exception:  # the parsers of both libraries raise various types
        raise UnusableWeightsError(
            f"{path}: is not a weights file of torch or safetensors"
        ) from None
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    named = content.items() if isinstance(content, Mapping) else ()
    weights = {name: tensor for name, tensor in named if isinstance(tensor, Tensor)}
    if not weights:
        raise UnusableWeightsError(
            f"{path}: contains no named weights; save the state_dict of a model"
        )
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in weights):
            weights = {key.removeprefix(prefix): tensor for key, tensor in weights.items()}
    return weights


def file_digest(path: Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a file."""
    state = path.stat()
    return _file_digest(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _file_digest(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def require_weights(file: Path, model: str, missing: Sequence[str], other: Sequence[str]) -> None:
    """Require that a file has exactly the weights of a model.

    Args:
        file: Weights file, for the message.
        model: Name of the model, as in `timm.resnet18`.
        missing: Weights of the model that the file lacks.
        other: Weights of the file that the model does not have.

    Raises:
        UnusableWeightsError: It has not.
    """
    if missing:
        raise UnusableWeightsError(f"{file}: lacks weights of {model}, such as {missing[0]}")
    if other:
        raise UnusableWeightsError(
            f"{file}: contains weights that {model} does not have, such as {other[0]}"
        )


def unknown_parameter_error(
    model: str, options: Iterable[str], error: TypeError
) -> ParameterError | None:
    """Error for parameters that a library's model does not have.

    Args:
        model: Name of the model, as in `timm.resnet18`.
        options: Parameters that were given.
        error: Exception of the constructor.

    Returns:
        None if the exception names none of the parameters.
    """
    unknown = [key for key in options if f"'{key}'" in str(error)]
    problems = [Problem((key,), f"{model} has no such parameter") for key in unknown]
    return ParameterError(model, problems) if problems else None


def download_timm_weights(config: Any) -> Path:
    """Download timm's pretrained weights of a model, unless they are in the hub's cache.

    Args:
        config: timm's `PretrainedCfg` of the weights; None if there is none.

    Returns:
        Path of the file.

    Raises:
        UnusableWeightsError: There are no weights in timm's format, or the hub cannot be reached.
    """
    if config is None or not config.hf_hub_id or config.custom_load:
        raise UnusableWeightsError(
            "timm has no downloadable weights for this model; set pretrained to false"
        )
    import huggingface_hub
    import requests

    file = config.hf_hub_filename or "model.safetensors"
    get = functools.partial(huggingface_hub.hf_hub_download, config.hf_hub_id, file)
    try:
        return Path(get(local_files_only=True))
    except Exception:  # not in the cache
        pass
    problem = f"{config.hf_hub_id}, {file} cannot be downloaded; give the file as `checkpoint`"
    hub = huggingface_hub.constants.ENDPOINT
    try:  # the library itself would retry for a minute and print each attempt
        requests.head(hub, timeout=10)
    except requests.RequestException:
        raise UnusableWeightsError(f"{problem}: no connection to {hub}") from None
    try:
        return Path(get())
    except Exception as error:  # errors of the hub and of several libraries below it
        raise UnusableWeightsError(f"{problem}: {str(error).partition(chr(10))[0][:200]}") from None
