"""Contents of trials, which are nested mappings: flat keys, and components as text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any


def flatten(
    content: Mapping[str, Any], omitted: Collection[str], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a nested mapping with their dotted keys.

    Args:
        content: Mapping whose values are mappings, lists or plain values.
        omitted: Keys below the top level that the dotted keys leave out: with `params`,
            `{optimizer: {params: {lr: 0.1}}}` gives `optimizer.lr`.
        prefix: Dotted key of the content itself.

    Yields:
        Dotted key and value of each leaf; an empty mapping is a leaf.
    """
    for key, value in content.items():
        dotted = ".".join(filter(None, [prefix, "" if prefix and key in omitted else key]))
        if isinstance(value, Mapping) and value:
            yield from flatten(value, omitted, dotted)
        else:
            yield dotted, value


def component_text(component: Mapping[str, Any], value_text: Callable[[Any], str]) -> str:
    """`{name: random_crop, params: {padding: 4}}` -> `random_crop(padding=4)`."""
    params = ", ".join(f"{key}={value_text(item)}" for key, item in component["params"].items())
    return f"{component['name']}({params})" if params else str(component["name"])


def is_component(value: Any) -> bool:
    """Whether a value is the content of a `Component`."""
    return isinstance(value, Mapping) and set(value) == {"name", "params"}
