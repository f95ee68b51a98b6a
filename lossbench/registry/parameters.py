"""Parameters of a component: models made from signatures, and paths."""

from __future__ import annotations

import inspect
import keyword
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from lossbench.errors import RequestError

OMIT_DEFAULT = object()
"""Mark of a parameter that was added later, as in `Annotated[float, OMIT_DEFAULT] = 0.0`. Resolved
parameters leave its default out, so that identities of earlier versions remain."""


class _Parameters(BaseModel):
    """Base of the models made from signatures: exact types, known keys, finite numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def public_name(name: str) -> str:
    """`lambda` for `lambda_`."""
    return name.rstrip("_")


def python_name(name: str) -> str:
    """`lambda_` for `lambda`."""
    return f"{name}_" if keyword.iskeyword(name) else name


def signature_model(name: str, factory: Callable[..., Any]) -> type[BaseModel]:
    """Create the model of the keyword-only arguments of a factory."""
    return parameters_model(name, signature_fields(factory))


def signature_fields(factory: Callable[..., Any]) -> dict[str, Any]:
    """Public name -> (type, default) of each keyword-only argument of a factory.

    Raises:
        RequestError: An argument has no annotation.
    """
    function = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            if parameter.name not in hints:
                raise RequestError(f"parameter {parameter.name!r} has no annotation")
            required = parameter.default is inspect.Parameter.empty
            default = Field() if required else Field(default=parameter.default)
            fields[public_name(parameter.name)] = (hints[parameter.name], default)
    return fields


def optional_arguments(factory: Callable[..., Any]) -> set[str]:
    """Names of a factory's arguments with a default that can be given by position."""
    return {
        parameter.name
        for parameter in inspect.signature(factory).parameters.values()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        and parameter.default is not inspect.Parameter.empty
    }


def parameters_model(name: str, fields: Mapping[str, Any]) -> type[BaseModel]:
    """Create the model of parameters from name -> (type, default)."""
    return create_model(f"{name}_parameters", __base__=_Parameters, **fields)


def user_path(written: str | Path) -> Path:
    """Return the path with a leading `~` or `~user` replaced by the home folder.

    A shell replaces it in `--data-root ~/data`, but not in `--data-root=~/data`, suites and
    environment variables.

    Raises:
        RequestError: There is no such home folder.
    """
    try:
        return Path(written).expanduser()
    except RuntimeError:
        home = Path(written).parts[0]
        raise RequestError(
            f"{written}: {home} is not a home folder on this machine; write the path in full"
        ) from None
