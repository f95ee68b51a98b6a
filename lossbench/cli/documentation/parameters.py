"""Fields of pydantic models as text: their values and their defaults."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from lossbench.suite.schema import Component


def values_text(field: FieldInfo) -> str:
    """Return the valid values of a field: `float, >= 0`; `identity | diagonal`."""
    bounds: list[str] = []
    names = _type_text(field.annotation, bounds)
    for rule in field.metadata:
        _add_bounds(rule, bounds)
    return ", ".join([names, *dict.fromkeys(bounds)])


def default_text(field: FieldInfo) -> str:
    """Return the default of a field as a suite would have it; `required` or `none` without one."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "none"
    return _value_text(value)


def _add_bounds(rule: Any, bounds: list[str]) -> None:
    if isinstance(rule, FieldInfo):
        for inner in rule.metadata:
            _add_bounds(inner, bounds)
    for key, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<=")):
        if getattr(rule, key, None) is not None:
            bounds.append(f"{sign} {getattr(rule, key):.6g}")


def _type_text(annotation: Any, bounds: list[str]) -> str:
    """Return the text of a type; bounds inside it are added to `bounds`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):  # Annotated
        for rule in annotation.__metadata__:
            _add_bounds(rule, bounds)
        return _type_text(annotation.__origin__, bounds)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (list, tuple):
        return f"list of {_type_text(arguments[0], bounds)}"
    if origin is dict:
        return f"mapping to {_type_text(arguments[1], bounds)}"
    if arguments:  # a union
        kinds = [_type_text(one, bounds) for one in arguments if one is not type(None)]
        return " | ".join(dict.fromkeys(kinds))
    names = {Component: "name, or name with parameters", Any: "value", dict: "mapping"}
    if annotation in names:
        return names[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return str(getattr(annotation, "__name__", annotation))


def _value_text(value: Any) -> str:
    if isinstance(value, Component):
        return value.name
    if isinstance(value, list):
        return f"[{', '.join(_value_text(one) for one in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_value_text(one)}' for key, one in value.items())}}}"
    if isinstance(value, BaseModel):
        return "see below" if value.model_fields_set else "{}"
    return str(value).lower() if isinstance(value, bool) else str(value)
