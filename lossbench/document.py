"""YAML as plain data: no tags, no code, bounded size; and `--set KEY=VALUE` laid over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    CollectionEndEvent,
    CollectionStartEvent,
)

from lossbench.errors import RequestError, did_you_mean

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 40
MAX_VALUES = 20_000
"""Of a document with its aliases written out: a few lines of them can stand for billions."""


def parse(text: str, where: str) -> Any:
    """Parse YAML, with the marks of its lines.

    Args:
        text: One document.
        where: For messages: the file, or the `--set`.

    Raises:
        RequestError: It is no YAML, has a tag, or is too long or too deep.
    """
    if len(text) > MAX_CHARACTERS:
        raise RequestError(f"{where}: is longer than {MAX_CHARACTERS:,} characters")
    try:
        _look_over(text, where)
        # round-trip mode keeps line marks; it makes plain data only and runs no code
        return YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = (error.problem or error.context or "cannot be parsed").partition("\n")[0]
        raise RequestError(f"{where}: broken YAML: {place}{problem}") from None
    except (YAMLError, ValueError) as error:
        first = str(error).partition("\n")[0]
        raise RequestError(f"{where}: broken YAML: {first}") from None


def _look_over(text: str, where: str) -> None:
    """Refuse what must not even be composed: the composer calls itself for each level."""
    depth = 0
    for event in YAML(typ="rt", pure=True).parse(text):
        if isinstance(event, CollectionStartEvent):
            depth += 1
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
        line = event.start_mark.line + 1
        if depth > MAX_DEPTH:
            raise RequestError(f"{where}:{line}: more than {MAX_DEPTH} levels of nesting")
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise RequestError(f"{where}:{line}: the tag {tag} is not allowed; plain values only")


def plain(document: Any, where: str) -> Any:
    """Strip the YAML library's own types, and write aliases out.

    Raises:
        RequestError: It is too large then, or an alias stands inside what it names.
    """
    values = 0

    def strip(node: Any, depth: int) -> Any:
        nonlocal values
        values += 1
        if values > MAX_VALUES:
            raise RequestError(f"{where}: more than {MAX_VALUES:,} values, with its aliases")
        if depth > MAX_DEPTH:
            raise RequestError(
                f"{where}: more than {MAX_DEPTH} levels of nesting, with its aliases"
            )
        if isinstance(node, Mapping):
            return {key: strip(value, depth + 1) for key, value in node.items()}
        if isinstance(node, list):
            return [strip(value, depth + 1) for value in node]
        for kind in (bool, int, float, str):
            if isinstance(node, kind):
                return kind(node)
        return node

    return strip(document, 0)


def read_override(override: str) -> tuple[str, Any]:
    """`KEY=VALUE`, as `--set` has it -> key, and the value read as YAML.

    Raises:
        RequestError: It has another form.
    """
    key, separator, text = override.partition("=")
    if not separator or not key or not all(key.split(".")):
        raise RequestError(f"--set {override}: should be KEY=VALUE, as in recipe.epochs=3")
    where = f"--set {override}"
    return key, plain(parse(text, where), where)


def assign(node: Any, keys: list[str], value: Any, text: str) -> None:
    """Set a dotted key in place; a list of named things is entered by the name.

    Args:
        node: Plain data, a mapping at the top.
        keys: From the outermost inwards.
        value: What the key gets.
        text: The whole `--set`, for messages.

    Raises:
        RequestError: There is no such place.
    """
    head, *rest = keys
    if isinstance(node, list):
        _assign_in_list(node, keys, value, text)
    elif not isinstance(node, dict):
        raise RequestError(f"--set {text}: there is nothing below a plain value")
    elif rest:
        if node.get(head) is None:
            node[head] = {}
        if isinstance(node[head], str):
            node[head] = {"name": node[head]}
        assign(node[head], rest, value, text)
    else:
        node[head] = value


def _assign_in_list(node: list[Any], keys: list[str], value: Any, text: str) -> None:
    head, *rest = keys
    names = [_name_of(item) for item in node]
    if head not in names or not rest:
        known = [name for name in names if name is not None]
        if not known:
            raise RequestError(f"--set {text}: a list of values can only be set as a whole")
        example = f"{head}.PARAMETER" if head in names else "losses.NAME.PARAMETER"
        hint = did_you_mean(head, known) if head not in names else ""
        raise RequestError(f"--set {text}: should be {example}=VALUE{hint}")
    for index, name in enumerate(names):
        if name != head:
            continue
        item = node[index]
        params = item[head] if isinstance(item, dict) else None
        if not isinstance(params, dict | None):
            raise RequestError(f"--set {text}: there is nothing below a plain value")
        params = dict(params or {})
        assign(params, rest, value, text)
        node[index] = {head: params}


def _name_of(item: Any) -> str | None:
    """`softmax` or `{lgm: {...}}`; None where an item of a list has no name."""
    if isinstance(item, str):
        return item
    if isinstance(item, dict) and len(item) == 1:
        return str(next(iter(item)))
    return None
