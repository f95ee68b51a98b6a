"""Access to torchvision.transforms.v2: its transforms, their parameters, and their construction.

A parameter `transforms` is a list of further transforms, as in a suite: `v2.ColorJitter`, or
`{v2.ColorJitter: {brightness: 0.4}}`.
"""

from __future__ import annotations

import enum
import functools
import inspect
import numbers
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Union

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)

from lossbench.errors import ParameterError, did_you_mean, first_line, validation_problems
from lossbench.registry import parameters_model
from lossbench.suite.components import Component, KeyedComponent

BOXES = "it changes boxes or key points, and images here have a label only"
LABELS = "it mixes images of several classes, and a loss here takes one label per image"
PIXELS = "images keep pixels from 0 to 255, which recipe.input.mean and recipe.input.std scale"
FORMAT = "it only converts between formats, and images are tensors already"
SEVERAL = "it makes several images of one; the evaluation ten_crop measures them"
UNSUPPORTED = {
    "ClampBoundingBoxes": BOXES,
    "ClampKeyPoints": BOXES,
    "ConvertBoundingBoxFormat": BOXES,
    "ConvertImageDtype": PIXELS,
    "CutMix": LABELS,
    "FiveCrop": SEVERAL,
    "Lambda": "a suite has no functions; register an augmentation of your own with --plugin",
    "LinearTransformation": PIXELS,
    "MixUp": LABELS,
    "Normalize": PIXELS,
    "PILToTensor": FORMAT,
    "RandomIoUCrop": BOXES,
    "SanitizeBoundingBoxes": BOXES,
    "SanitizeKeyPoints": BOXES,
    "SetClampingMode": BOXES,
    "TenCrop": SEVERAL,
    "ToDtype": PIXELS,
    "ToImage": FORMAT,
    "ToPILImage": FORMAT,
    "ToPureTensor": FORMAT,
    "ToTensor": FORMAT,
    "UniformTemporalSubsample": "it takes the frames of a video",
}
"""Transforms that cannot augment images here -> reason."""
_NOT_OFFERED = {"inplace"}  # images may be those of the data set


def transform_names() -> frozenset[str]:
    """Names of the transforms that can be used."""
    return all_transform_names() - UNSUPPORTED.keys()


@functools.cache
def all_transform_names() -> frozenset[str]:
    """Names of all transforms of the library, including those that cannot be used."""
    base = _library().Transform
    classes = {name: each for name, each in vars(_library()).items() if isinstance(each, type)}
    return frozenset(n for n, each in classes.items() if issubclass(each, base) and each != base)


def transform_class(name: str) -> Any:
    """A class of the library."""
    return getattr(_library(), name)


def create_transform(name: str, params: dict[str, Any]) -> Any:
    """Create a transform of the library.

    Args:
        name: Name of its class.
        params: Parameters as validated by `transform_parameters`.
    """
    transform = transform_class(name)
    values = {key: value for key, value in params.items() if key != "transforms"}
    if "transforms" in params:
        values["transforms"] = [create_transform(*each) for each in nested_transforms(params)]
    for key, hint in _hints(transform).items():
        if key in values and _is_enum(hint):
            values[key] = hint(values[key])
    return transform(**values)


def nested_transforms(params: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Name and parameters of each transform in the validated parameter `transforms`."""
    listed = params.get("transforms", ())
    return [(key.removeprefix("v2."), own) for each in listed for key, own in each.items()]


def transform_parameters(name: str) -> type[BaseModel]:
    """Model of a transform's parameters, made from the signature of its constructor.

    The library checks the combination of values, too, because the transform is created.
    """

    def create(values: BaseModel) -> BaseModel:
        try:
            create_transform(name, values.model_dump())
        except Exception as error:  # the library raises various types
            text = first_line(error)
            raise ValueError(f"torchvision refuses the values: {text}") from None
        return values

    typed = parameters_model(f"v2.{name}", dict(_fields(transform_class(name))))
    validators: dict[str, Any] = {"create": model_validator(mode="after")(create)}
    return create_model(typed.__name__, __base__=typed, __validators__=validators)


def _library() -> Any:
    from lossbench.data.torchvision import torchvision

    return torchvision.transforms.v2


def _hints(transform: Any) -> dict[str, Any]:
    return typing.get_type_hints(transform.__init__)


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, enum.Enum)


def _fields(transform: type) -> Iterator[tuple[str, Any]]:
    """Name and (type, default) of each parameter."""
    hints = _hints(transform)
    for parameter in inspect.signature(transform).parameters.values():
        if parameter.name in _NOT_OFFERED:
            continue
        required = parameter.default is inspect.Parameter.empty
        hint = hints.get(parameter.name, type(parameter.default))
        kind = _SPECIAL.get(parameter.name) or _suite_type(hint)
        if parameter.name == "p" and hint is float:
            kind = Annotated[float, Field(ge=0, le=1)]
        default = ... if required else _suite_value(parameter.default)
        if not required:
            default = TypeAdapter(kind).validate_python(default)  # a float instead of an integer
        yield parameter.name, (kind, default)


def _suite_value(value: Any) -> Any:
    """A default as a suite would have it: lists instead of tuples, values instead of members."""
    if isinstance(value, enum.Enum):
        return value.value
    return [_suite_value(each) for each in value] if isinstance(value, tuple | list) else value


def _suite_type(hint: Any) -> Any:
    """Type of a parameter for pydantic, with lists instead of sequences and tuples."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        kinds = [part for part in arguments if not (part is int and float in arguments)]
        return Union[tuple(_suite_type(part) for part in kinds)]  # noqa: UP007
    if _is_enum(hint):
        return Literal[tuple(member.value for member in hint)]
    if hint is numbers.Number:
        return float
    if origin is tuple and len(arguments) > 1:
        length = Field(min_length=len(arguments), max_length=len(arguments))
        return Annotated[list[arguments[0]], length]  # type: ignore[valid-type]
    if hint is Sequence:
        return list[float]
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return list[arguments[0]]  # type: ignore[valid-type]
    return hint


_ENTRY: TypeAdapter[Component] = TypeAdapter(KeyedComponent)


def _validated(given: Any) -> dict[str, Any]:
    """A nested transform with all defaults, as `{v2.NAME: parameters}`."""
    try:
        chosen = _ENTRY.validate_python(given)
    except ValidationError as error:
        raise ValueError(validation_problems(error, lambda path: ())[0].message) from None
    prefix, _, name = chosen.name.rpartition(".")
    if prefix != "v2" or name not in transform_names():
        if name in UNSUPPORTED:
            raise ValueError(f"{chosen.name} cannot be used here: {UNSUPPORTED[name]}")
        hint = did_you_mean(chosen.name, (f"v2.{known}" for known in transform_names()))
        raise ValueError(f"unknown transform {chosen.name!r}{hint}")
    parameters = transform_parameters(name)
    try:
        return {chosen.name: parameters.model_validate(chosen.params).model_dump()}
    except ValidationError as error:
        problems = validation_problems(error, lambda path: parameters.model_fields)
        raise ValueError(str(ParameterError(chosen.name, problems))) from None


_Level = Annotated[float, Field(ge=0, le=255)]
_SPECIAL: dict[str, Any] = {
    "fill": _Level | list[_Level] | None,
    "value": _Level | list[_Level],
    "interpolation": Literal["nearest", "nearest-exact", "bilinear", "bicubic"],
    "transforms": Annotated[list[Annotated[Any, AfterValidator(_validated)]], Field(min_length=1)],
}
"""Types of parameters whose annotations are too wide: other values fail with 8-bit tensors."""
