"""Models of torchvision, available as `torchvision.NAME`: `torchvision.efficientnet_b0`.

torchvision takes a second to import; it is imported when a suite names one of its models.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from torch import Tensor, nn

from lossbench.data.torchvision_catalogue import REFERENCE
from lossbench.errors import ParameterError, Problem, first_line
from lossbench.models.base import MODELS, Backbone, ImageShape
from lossbench.models.torchvision_weights import download_weights, load_weights, weights_names
from lossbench.models.weights import (
    Rate,
    UnusableWeightsError,
    WeightsFile,
    file_digest,
    unknown_parameter_error,
)
from lossbench.registry import Entry, parameters_model

OPTIONS: dict[str, Any] = {
    "dropout": Rate,
    "drop_rate": Rate,
    "attention_dropout": Rate,
    "stochastic_depth_prob": Rate,
    "zero_init_residual": bool,
    "transform_input": bool,
    "image_size": Annotated[int, Field(ge=1, le=10_000)],
    "input_size": Annotated[list[int], Field(min_length=2, max_length=2)],
    "width_mult": Annotated[float, Field(gt=0)],
}
"""Parameters of torchvision's constructors that a suite can set -> type."""
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
"""Prefixes of the weights of auxiliary classifiers, which are left out."""
DESCRIPTION = """\
A model of torchvision without its classifier.

    The last layer, a linear layer or for SqueezeNet a convolution, is left out; dropout before it
    stays. Auxiliary classifiers of GoogLeNet and Inception are left out as well. Grey images are
    repeated to three channels.

    Args:
        image_shape: (3, H, W) or (1, H, W)
        feature_dim: D, at least 1, the width of an additional linear layer; None for the
            features of the model.
        pretrained: Whether to start from torchvision's weights, or the name of them, such as
            IMAGENET1K_V1; they are downloaded once. They expect the scaling they were trained
            with: `recipe.input.mean` and `.std`.
        checkpoint: File of weights to start from instead, as saved by torchvision or torch;
            weights of a classifier are ignored.
"""
DESCRIPTIONS = {
    "dropout": "Rate in [0, 1).",
    "drop_rate": "Rate in [0, 1) of dropout in each layer.",
    "attention_dropout": "Rate in [0, 1) of dropout of attention weights.",
    "stochastic_depth_prob": "Probability in [0, 1) of leaving out the last block.",
    "zero_init_residual": "Whether each residual branch starts as zero.",
    "transform_input": (
        "Whether to scale images of ImageNet's mean and deviation to [-1, 1], as torchvision's "
        "weights of this model expect; None: with `pretrained` only."
    ),
    "image_size": "Side of the images in pixels; None for 224.",
    "input_size": "Height and width of the images in pixels; None for [224, 224].",
    "width_mult": "Factor of the numbers of channels.",
}


def torchvision_entry(name: str) -> Entry[Backbone]:
    """Registry entry of a model.

    Args:
        name: Name of the model in torchvision.
    """
    offered = [key for key in _class_parameters(name) if key in OPTIONS]

    def backbone(image_shape: ImageShape, **params: Any) -> Backbone:
        return _backbone(name, image_shape, params)

    lines = [f"        {key}: {DESCRIPTIONS[key]} None for its default." for key in offered]
    backbone.__doc__ = DESCRIPTION + "\n".join([*lines, _RAISES])
    fields = _fields(Literal[tuple(weights_names(name))])
    fields |= {key: (OPTIONS[key] | None, None) for key in offered}
    return _entry(name, backbone, parameters_model(name, fields))


_RAISES = """
    Raises:
        ParameterError: A parameter does not fit the model, or weights cannot be used.
        ValueError: The model does not support the image shape.
"""


def placeholder_entry() -> Entry[Backbone]:
    """Registry entry that represents all models of torchvision in a list."""

    def backbone(image_shape: ImageShape) -> Backbone:
        """A model of torchvision without its classifier, with pooled features."""
        raise NotImplementedError

    return _entry("NAME", backbone, parameters_model("torchvision", _fields(str)))


def _entry(name: str, factory: Any, parameters: type[BaseModel]) -> Entry[Backbone]:
    return Entry(
        "model",
        f"torchvision.{name}",
        factory,
        REFERENCE,
        parameters,
        distribution="torchvision",
    )


def _fields(weights: Any) -> dict[str, Any]:
    """Name and (type, default) of the parameters that all models share."""
    return {
        "feature_dim": (Annotated[int, Field(ge=1)] | None, None),
        "pretrained": (bool | weights, False),
        "checkpoint": (WeightsFile | None, None),
    }


@functools.cache
def architecture_names() -> frozenset[str]:
    """Names of torchvision's models for the classification of images."""
    models = _models()
    return frozenset(models.list_models(module=models))


def _models() -> Any:
    from lossbench.data.torchvision import torchvision

    return torchvision.models


def _class_parameters(name: str) -> Mapping[str, inspect.Parameter]:
    """Parameters of the constructor of a model's class."""
    builder = _models().get_model_builder(name)
    return inspect.signature(typing.get_type_hints(builder)["return"]).parameters


def _backbone(name: str, image_shape: ImageShape, params: dict[str, Any]) -> Backbone:
    full_name = f"torchvision.{name}"
    feature_dim, pretrained, checkpoint = (
        params.pop(key) for key in ("feature_dim", "pretrained", "checkpoint")
    )
    if pretrained and checkpoint:
        raise ParameterError(
            full_name, [Problem(("checkpoint",), "cannot be combined with pretrained")]
        )
    if image_shape[0] not in (1, 3):
        raise ValueError(f"{full_name} needs images of 3 channels or 1, not {image_shape[0]}")
    options = {key: value for key, value in params.items() if value is not None}
    _require_size(name, image_shape, options)
    if pretrained and "transform_input" in params:
        options.setdefault("transform_input", True)
    network = _network(name, options)
    classifier, dimensions = _remove_classifier(network)
    file = Path(checkpoint) if checkpoint else None
    try:
        if pretrained:
            file = download_weights(name, pretrained if isinstance(pretrained, str) else None)
        if file:
            load_weights(network, file, full_name, (f"{classifier}.", *AUXILIARY))
    except UnusableWeightsError as error:
        key = "checkpoint" if checkpoint else "pretrained"
        raise ParameterError(full_name, [Problem((key,), str(error))]) from None
    if image_shape[0] == 1:
        network.register_forward_pre_hook(_repeat_grey)
    if feature_dim is not None:
        network = nn.Sequential(network, nn.Linear(dimensions, feature_dim))
    return Backbone(network, feature_dim or dimensions, file_digest(file) if file else "")


def _require_size(name: str, image_shape: ImageShape, options: Mapping[str, Any]) -> None:
    """Require the size that a transformer is built for.

    Raises:
        ValueError: The images have another size.
    """
    parameters = _class_parameters(name)
    if "image_size" in parameters:
        key, sides = "image_size", [options.get("image_size", 224)] * 2
    elif "input_size" in parameters:
        key, sides = "input_size", options.get("input_size", [224, 224])
    else:
        return
    if list(image_shape[1:]) != sides:
        raise ValueError(
            f"torchvision.{name} is built for images of {sides[0]}x{sides[1]}: give model.{key}, "
            f"or recipe.input {{resize: {sides[0]}, crop: {sides[0]}}}"
        )


def _network(name: str, options: Mapping[str, Any]) -> nn.Module:
    """The network of torchvision with its classifier and random weights."""
    given = dict(options)
    if "aux_logits" in _class_parameters(name):
        given |= {"aux_logits": False, "init_weights": True}
    try:
        network: nn.Module = _models().get_model(name, weights=None, **given)
    except Exception as error:  # models of torchvision raise various types
        unknown = None
        if isinstance(error, TypeError):
            unknown = unknown_parameter_error(f"torchvision.{name}", options, error)
        raise unknown or ValueError(first_line(error)) from None
    return network


def _remove_classifier(network: nn.Module) -> tuple[str, int]:
    """Replace the last layer by the identity.

    Returns:
        Its name, and the number of features that it takes.
    """
    layers = [
        (name, layer)
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    name, last = layers[-1]
    network.set_submodule(name, nn.Identity())
    width = last.in_features if isinstance(last, nn.Linear) else last.in_channels
    return name, width


def _repeat_grey(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """Images (N, 1, H, W), repeated to three channels."""
    return inputs[0].expand(-1, 3, -1, -1)


MODELS.register_prefix("torchvision", torchvision_entry, architecture_names, placeholder_entry())
