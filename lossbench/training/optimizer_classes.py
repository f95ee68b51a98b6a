"""Classes derived from `torch.optim.Optimizer` as factories of a registry.

    @OPTIMIZERS.register("lion")
    class Lion(torch.optim.Optimizer):
        def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0): ...

The parameters of a suite are the arguments after `params`. A type without an annotation is that of
the default.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Union

from pydantic import Field
from torch import optim

from lossbench.errors import RequestError

Groups = list[dict[str, Any]]
"""Parameter groups of an optimizer."""
_PLAIN = (bool, int, float, str)


def optimizer_factory(
    factory: Callable[..., Any],
    types_of: Mapping[str, Any] = types.MappingProxyType({}),
    left_out: Collection[str] = (),
) -> Callable[..., Any]:
    """Return a factory of functions from groups to an optimizer.

    Args:
        factory: A class of optimizers, or a factory already, which is returned as it is.
        types_of: Argument -> its type in a suite, in place of that of the class.
        left_out: Arguments that a suite cannot set.

    Raises:
        RequestError: An argument of the class has no type that a suite can give.
    """
    if not (isinstance(factory, type) and issubclass(factory, optim.Optimizer)):
        return factory
    hints = typing.get_type_hints(factory.__init__, include_extras=True)
    _, *arguments = inspect.signature(factory).parameters.values()
    parameters = []
    for argument in arguments:
        if argument.name in left_out or argument.kind in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        ):
            continue
        hint = hints.get(argument.name)
        suite_type = types_of.get(argument.name) or _suite_type(argument, hint)
        default = _suite_default(argument.default, suite_type)
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(argument.replace(kind=kind, annotation=suite_type, default=default))
    tuples = {each.name for each in arguments if isinstance(each.default, tuple)}

    @functools.wraps(factory, updated=())
    def create(**params: Any) -> Callable[[Groups], optim.Optimizer]:
        given: dict[str, Any] = {k: tuple(v) if k in tuples else v for k, v in params.items()}
        return functools.partial(factory, **given)

    create.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    create.__annotations__ = {each.name: each.annotation for each in parameters}
    return create


def _suite_type(argument: inspect.Parameter, hint: Any) -> Any:
    """Type of an argument in a suite, where tuples are lists.

    Raises:
        RequestError: It has none.
    """
    default = argument.default
    if isinstance(default, tuple):
        length = Field(min_length=len(default), max_length=len(default))
        items = float | None if None in default else float
        return Annotated[list[items], length]  # type: ignore[valid-type]
    if hint is not None and _is_plain(hint):
        return hint
    if isinstance(default, int | float) and not isinstance(default, bool):
        return float
    if isinstance(default, bool | str):
        return type(default)
    if default is None:
        return bool | float | str | None
    raise RequestError(
        f"argument {argument.name!r} needs an annotation such as {argument.name}: float"
    )


def _suite_default(default: Any, suite_type: Any) -> Any:
    """Default of an argument as a suite would have it: a list for a tuple, 0.0 for a real 0."""
    if isinstance(default, tuple):
        return [_suite_default(item, float) for item in default]
    if typing.get_origin(suite_type) is Annotated:
        suite_type = typing.get_args(suite_type)[0]
    return float(default) if suite_type is float and type(default) is int else default


def _is_plain(hint: Any) -> bool:
    """Whether a suite can give values of a type: numbers, texts, with ranges, and lists of them."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _is_plain(arguments[0])
    if origin is typing.Literal:
        return True
    if origin in (Union, types.UnionType, list):
        return all(map(_is_plain, arguments))
    return hint in _PLAIN or hint is type(None)
