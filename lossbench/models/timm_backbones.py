"""Models of timm, available as `timm.NAME`: `timm.resnet18` or `timm.vit_tiny_patch16_224`.

timm is an optional library that takes a second to import; it is imported when a suite names one of
its models.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from lossbench.errors import ParameterError, Problem, RequestError
from lossbench.models.base import MODELS, Backbone, ImageShape
from lossbench.models.weights import (
    Rate,
    UnusableWeightsError,
    WeightsFile,
    download_timm_weights,
    file_digest,
    read_weights,
    require_weights,
    unknown_parameter_error,
)
from lossbench.registry import Entry, make_entry

REFERENCE = "Wightman: PyTorch Image Models, 2019"


def timm_entry(name: str) -> Entry[Backbone]:
    """Registry entry of a model.

    Args:
        name: Name of the model in timm.

    Raises:
        RequestError: timm is not installed.
    """
    full_name = f"timm.{name}"

    def backbone(
        image_shape: ImageShape,
        *,
        feature_dim: Annotated[int, Field(ge=1)] | None = None,
        pretrained: bool = False,
        checkpoint: WeightsFile | None = None,
        drop_rate: Rate | None = None,
        drop_path_rate: Rate | None = None,
        img_size: Annotated[int, Field(ge=1, le=10_000)] | None = None,
    ) -> Backbone:
        """A model of timm without its classifier, with pooled features.

        Args:
            image_shape: (C, H, W)
            feature_dim: D, at least 1, the width of an additional linear layer; None for the
                features of the model.
            pretrained: Whether to start from timm's weights, which are downloaded once. They
                expect the scaling they were trained with: `recipe.input.mean` and `.std`.
            checkpoint: File of weights to start from instead, as saved by timm or torch; weights of
                a classifier are ignored.
            drop_rate, drop_path_rate: Rates in [0, 1); None for the defaults of the model.
            img_size: Side of the images in pixels, for models built for one size; None for the
                default of the model.

        Raises:
            ParameterError: A parameter does not fit the model, or weights cannot be used.
            ValueError: The model does not support the image shape.
        """
        if pretrained and checkpoint:
            raise ParameterError(
                full_name, [Problem(("checkpoint",), "cannot be combined with pretrained")]
            )
        given = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate, "img_size": img_size}
        options = {key: value for key, value in given.items() if value is not None}
        _require_size(name, image_shape, img_size)
        try:
            file = Path(checkpoint) if checkpoint else None
            file = download_timm_weights(_timm().get_pretrained_cfg(name)) if pretrained else file
            network = _network(name, image_shape[0], options, file)
        except UnusableWeightsError as error:
            key = "checkpoint" if checkpoint else "pretrained"
            raise ParameterError(full_name, [Problem((key,), str(error))]) from None
        # width of the classifier's input; num_features is that of the last feature map
        dimensions: Any = getattr(network, "head_hidden_size", None) or network.num_features
        if feature_dim is not None:
            network = nn.Sequential(network, nn.Linear(dimensions, feature_dim))
        return Backbone(network, feature_dim or dimensions, file_digest(file) if file else "")

    return replace(make_entry("model", full_name, backbone, REFERENCE), distribution="timm")


@functools.cache
def architecture_names() -> frozenset[str]:
    """Names of architectures, and of architectures with the tag of pretrained weights."""
    timm = _timm()
    return frozenset([*timm.list_models(), *timm.list_models(pretrained=True)])


def _timm() -> Any:
    if importlib.util.find_spec("timm") is None:
        raise RequestError("models timm.NAME need timm: pip install 'lossbench[timm]'")
    import lossbench.data.torchvision  # noqa: F401  timm imports torchvision
    import timm  # isort: skip

    logging.getLogger("timm").setLevel(logging.ERROR)  # lossbench reports weights that do not fit
    return timm


def _require_size(name: str, image_shape: ImageShape, img_size: int | None) -> None:
    known = _timm().get_pretrained_cfg(name)
    if known is None or not known.fixed_input_size:
        return
    sides = (img_size, img_size) if img_size else known.input_size[1:]
    if image_shape[1:] != sides:
        wanted = "x".join(map(str, sides))
        raise ValueError(
            f"timm.{name} is built for images of {wanted}: give model.img_size, or recipe.input "
            f"{{resize: {sides[0]}, crop: {sides[0]}}}"
        )


def _network(name: str, channels: int, options: dict[str, Any], file: Path | None) -> nn.Module:
    create: Callable[..., nn.Module] = functools.partial(
        _timm().create_model, name, num_classes=0, in_chans=channels, **options
    )
    weights = read_weights(file) if file else {}
    try:
        if not file:
            return create()
        network = create(pretrained=True, pretrained_cfg_overlay={"state_dict": dict(weights)})
    except TypeError as error:
        unknown = unknown_parameter_error(f"timm.{name}", options, error)
        raise unknown or ValueError(str(error)) from None
    except Exception as error:  # models of timm raise various types
        lines = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
        if file:
            raise UnusableWeightsError(
                f"{file}: does not contain weights of timm.{name}: {lines[-1]}"
            ) from None
        raise ValueError(lines[0]) from None
    # timm loads the weights that fit and leaves the others random
    expected = network.state_dict()
    cut_off = _timm().get_pretrained_cfg(name).classifier or ()
    cut_off = (cut_off,) if isinstance(cut_off, str) else tuple(cut_off)
    missing = [key for key in expected if key not in weights]
    known = (*expected, *(f"{part}.{end}" for part in cut_off for end in ("weight", "bias")))
    unexpected = [key for key in weights if key not in known]
    require_weights(file, f"timm.{name}", missing, unexpected)
    return network


MODELS.register_prefix("timm", timm_entry, architecture_names, timm_entry("NAME"))
