"""Conversion of a suite with its defaults to YAML that lossbench can read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

from lossbench.suite.schema import Suite

_KEYED_LISTS = ("losses", "augment")  # written as `lgm: {alpha: 0.3}`


def suite_yaml(suite: Suite) -> str:
    """Return the suite as YAML text in the short form of suite files."""
    yaml = YAML()
    yaml.default_flow_style = None  # lists of numbers and small mappings on one line
    yaml.width = 100
    stream = io.StringIO()
    yaml.dump(_short(suite.model_dump(mode="json")), stream)
    return stream.getvalue()


def _short(value: Any, key: str = "") -> Any:
    if isinstance(value, list):
        return [_keyed(item) if key in _KEYED_LISTS else _short(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"name", "params"}:
        # a parameter may itself be called `params`: then only the long form is unambiguous
        params = value["params"]
        return dict(value) if "params" in params else {"name": value["name"], **params}
    if key == "variants":
        return {name: _short_variant(variant) for name, variant in value.items()}
    return {inner: _short(item, inner) for inner, item in value.items() if item is not None}


def _short_variant(variant: Mapping[str, Any]) -> dict[str, Any]:
    """A variant; in its `dataset` and `recipe`, null differs from a missing key."""
    return {
        part: {key: _short(item, key) for key, item in own.items()}
        if part in ("dataset", "recipe")
        else _short(own, part)
        for part, own in variant.items()
        if own is not None
    }


def _keyed(component: Mapping[str, Any]) -> Any:
    label = {"label": component["label"]} if "label" in component else {}
    params = {**label, **component["params"]}
    return {component["name"]: params} if params else component["name"]
