"""Components of a suite: a name with parameters, in the short forms of suite files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer

from lossbench.records import Strict


class Component(Strict):
    """Name and parameters of a model, an optimizer, a loss and so on."""

    name: str
    params: dict[str, Any] = Field(default={})


def _named(value: Any) -> Any:
    """`sgd` or `{name: sgd, lr: 0.1}`."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping) and not isinstance(value.get("params"), Mapping):
        if "name" not in value:
            raise ValueError("should have a 'name'")
        return {"name": value["name"], "params": {k: v for k, v in value.items() if k != "name"}}
    if not isinstance(value, Mapping | Component):
        raise ValueError(f"should be a name, or a mapping with a name, not {value!r}")
    return value


def _keyed(value: Any) -> Any:
    """`softmax` or `{lgm: {alpha: 0.3}}`."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping) and "name" not in value:
        if len(value) != 1:
            raise ValueError(f"should be one name with its parameters, not {len(value)} names")
        [(name, params)] = value.items()
        if params is not None and not isinstance(params, Mapping):
            raise ValueError(f"the parameters of {name!r} should be a mapping, not {params!r}")
        return {"name": name, "params": dict(params or {})}
    if not isinstance(value, Mapping | Component):
        raise ValueError(f"should be a name, or a name with its parameters, not {value!r}")
    return value


class LossEntry(Component):
    """An entry of `losses`: name and parameters of a loss, perhaps with a label.

    Attributes:
        label: Printed name of its rows; None for the name of the loss.
    """

    label: str | None = None

    @property
    def entry(self) -> str:
        """Name of the group of its rows: its label, else the name of the loss."""
        return self.label or self.name

    @property
    def loss(self) -> Component:
        """Its loss without the label."""
        return Component(name=self.name, params=self.params)

    @model_serializer(mode="wrap")
    def _without_missing_label(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = to_dict(self)
        if self.label is None:
            del content["label"]
        return content


def _labelled(value: Any) -> Any:
    """`softmax`, `{lgm: {alpha: 0.3}}` or `{lgm: {alpha: 0.3, label: ours}}`."""
    if isinstance(value, LossEntry):
        return value
    if isinstance(value, Component):
        return LossEntry(name=value.name, params=value.params)
    entry = _keyed(value)
    if "name" in value or "label" not in entry.get("params", {}):
        return entry
    params = dict(entry["params"])
    label = params.pop("label")
    number = isinstance(label, int | float) and not isinstance(label, bool)
    return {**entry, "params": params, "label": str(label) if number else label}


NamedComponent = Annotated[Component, BeforeValidator(_named)]
KeyedComponent = Annotated[Component, BeforeValidator(_keyed)]
LabelledLoss = Annotated[LossEntry, BeforeValidator(_labelled)]


def _augment(value: Any) -> Any:
    return [] if value in ("none", None) else value


AugmentList = Annotated[list[KeyedComponent], BeforeValidator(_augment)]
