"""Access to pytorch-metric-learning: its losses, their parameters, and their components.

A component is a parameter that is itself an object of the library, such as a miner.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from torch import nn

from lossbench.errors import ParameterError, Problem, RequestError, did_you_mean, first_line

LIBRARY = "pytorch-metric-learning"
COMPONENTS = {
    "miner": ("miners", "BaseMiner"),
    "distance": ("distances", "BaseDistance"),
    "reducer": ("reducers", "BaseReducer"),
    "embedding_regularizer": ("regularizers", "BaseRegularizer"),
    "weight_regularizer": ("regularizers", "BaseRegularizer"),
}
"""Parameters that are objects of the library: its module and their base class."""
_SET_BY_HEAD = {"num_classes", "embedding_size"}
_NOT_OFFERED = {"self", "kwargs", "args", "mat_based_loss", "collect_stats", "weight_init_func"}
_OWN = {"weight", "softmax_weight", "samples_per_class"}

OptionalNumber = int | float | None


def library_class(module: str, name: str) -> Any:
    """A class of the library.

    Args:
        module: Module of the library, such as `losses`.
        name: Name of the class.

    Raises:
        RequestError: The library is not installed.
    """
    return getattr(_library(module), name)


def class_names(module: str = "losses", base: str = "BaseMetricLossFunction") -> list[str]:
    """Names of the classes in a module of the library that derive from a base class.

    Args:
        module: Module of the library.
        base: Name of the base class, which is left out, as are wrappers of other losses.

    Raises:
        RequestError: The library is not installed.
    """
    found = vars(_library(module))
    root = next(c for c in _classes(found) for c in c.__mro__ if c.__name__ == base)
    other = {"GenericPairLoss", "EmbeddingsAlreadyPackagedAsTriplets", base}
    return [c.__name__ for c in _classes(found) if issubclass(c, root) and c.__name__ not in other]


def create_library_loss(name: str, params: dict[str, Any], **context: Any) -> Any:
    """Create a loss of the library.

    Args:
        name: Name of its class.
        params: Parameters from the suite, as validated by `parameter_fields`.
        **context: Other arguments of its constructor.

    Raises:
        ParameterError: The library refuses the combination of values.
    """
    values = {
        key: create_component(key, value) if key in COMPONENTS else value
        for key, value in params.items()
    }
    values = {
        key: value for key, value in values.items() if key not in COMPONENTS or value is not None
    }
    try:
        return library_class("losses", name)(**values, **context)
    except (TypeError, ValueError, AssertionError, NotImplementedError) as error:
        text = first_line(error)
        raise ParameterError(f"pml.{name}", [Problem((), text)]) from None


def create_component(key: str, chosen: dict[str, Any] | None) -> Any:
    """Create a component of a loss, or None.

    Args:
        key: Name of the parameter, a key of `COMPONENTS`.
        chosen: Name and options of the component, as validated by `parameter_fields`.
    """
    if chosen is None:
        return None
    options = {name: value for name, value in chosen.items() if name != "name"}
    return library_class(COMPONENTS[key][0], chosen["name"])(**options)


def parameter_fields(loss_class: type, *, has_logits: bool) -> Iterable[tuple[str, Any]]:
    """Name and (type, default) of each parameter, for pydantic's `create_model`.

    Args:
        loss_class: Class of the library.
        has_logits: Whether the loss itself classifies.
    """
    weight = Annotated[float, Field(ge=0)]
    yield "weight", (weight, 1.0)
    if not has_logits:
        yield "softmax_weight", (weight, 1.0)
        yield "samples_per_class", (Annotated[int, Field(ge=2)], 4)
    for parameter in _signature(loss_class):
        required = parameter.default is inspect.Parameter.empty
        if parameter.name in _SET_BY_HEAD | _NOT_OFFERED | _OWN | COMPONENTS.keys():
            continue
        yield parameter.name, _field(parameter, required)
    for key, (module, base) in COMPONENTS.items():
        if key == "weight_regularizer" and not has_logits:
            continue
        check = AfterValidator(functools.partial(_validate_component, module=module, base=base))
        yield key, (Annotated[str | dict[str, Any] | None, check], None)


def _field(parameter: inspect.Parameter, required: bool) -> Any:
    default = ... if required else parameter.default
    if isinstance(default, bool):
        return bool, default
    if isinstance(default, str):
        return str, default
    if isinstance(default, int | float) or required:
        return int | float, default
    return OptionalNumber, default


def _signature(library_type: type) -> list[inspect.Parameter]:
    """Parameters of the constructor and of the constructors of its base classes."""
    found: dict[str, inspect.Parameter] = {}
    for base in library_type.__mro__:
        if "__init__" in vars(base) and base not in (nn.Module, object):
            for parameter in inspect.signature(base.__init__).parameters.values():  # type: ignore[misc]
                found.setdefault(parameter.name, parameter)
    return list(found.values())


def _validate_component(value: Any, *, module: str, base: str) -> Any:
    """Convert `MultiSimilarityMiner` to `{name: MultiSimilarityMiner}`; check name and options."""
    if value is None:
        return None
    chosen = {"name": value} if isinstance(value, str) else value
    if not isinstance(chosen.get("name"), str):
        raise ValueError("should be a name, or a mapping with a name")
    known = class_names(module, base)
    if chosen["name"] not in known:
        raise ValueError(f"unknown name {chosen['name']!r}{did_you_mean(chosen['name'], known)}")
    component = library_class(module, chosen["name"])
    options = {key: option for key, option in chosen.items() if key != "name"}
    offered = {p.name for p in _signature(component)} - _NOT_OFFERED - COMPONENTS.keys()
    for key in options:
        if key not in offered:
            hint = did_you_mean(key, offered)
            raise ValueError(f"unknown key {key!r} of {chosen['name']}{hint}")
    try:
        component(**options)
    except Exception as error:  # the library raises various types
        text = first_line(error)
        raise ValueError(f"should be valid for {chosen['name']}: {text}") from None
    return chosen


def _library(module: str) -> Any:
    if importlib.util.find_spec("pytorch_metric_learning") is None:
        raise RequestError(f"losses pml.NAME need {LIBRARY}: pip install 'lossbench[pml]'")
    return importlib.import_module(f"pytorch_metric_learning.{module}")


def _classes(found: Mapping[str, Any]) -> Iterable[type]:
    return [value for value in found.values() if isinstance(value, type)]
