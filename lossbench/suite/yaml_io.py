"""YAML as plain data: no tags, no code, bounded size; and `--set KEY=VALUE` laid over it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    CollectionEndEvent,
    CollectionStartEvent,
)

from lossbench.errors import Loc, Problem, RequestError, did_you_mean
from lossbench.errors.redaction import holds_secret

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 40
MAX_VALUES = 20_000
"""Of a document with its aliases written out: a few lines of them can stand for billions."""
_PART = r""""[^"]+"|'[^']+'|[^."']+"""


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


def secret_problems(node: Any, loc: Loc = ()) -> Iterator[Problem]:
    """One problem per text with a credential: reports and MLflow show a suite's values.

    Args:
        node: Plain data.
        loc: Location of `node`.
    """
    if isinstance(node, dict | list):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            yield from secret_problems(value, (*loc, key))
    elif isinstance(node, str) and loc:
        named = len(node) >= 8 and holds_secret(f"{loc[-1]}={node}")  # `token: cls` is none
        if named or holds_secret(node):
            yield Problem(
                loc,
                "looks like a password or token, which reports and MLflow would show; "
                "take it from an environment variable",
            )


@dataclass(frozen=True)
class Part:
    """A part of a dotted key.

    Attributes:
        text: The part without its quotes.
        quoted: Whether it is a whole name; other parts may be joined to a name that has dots.
    """

    text: str
    quoted: bool = False

    def __str__(self) -> str:
        return f'"{self.text}"' if self.quoted else self.text


Parts = tuple[Part, ...]


def read_override(override: str) -> tuple[str, Any]:
    """`KEY=VALUE`, as `--set` has it -> key, and the value read as YAML.

    Raises:
        RequestError: It has another form.
    """
    key, separator, text = override.partition("=")
    if not separator or not re.fullmatch(rf"(?:{_PART})(?:\.(?:{_PART}))*", key):
        raise RequestError(f"--set {override}: should be KEY=VALUE, as in recipe.epochs=3")
    where = f"--set {override}"
    return key, plain(parse(text, where), where)


def assign_overrides(content: dict[str, Any], overrides: Iterable[str]) -> dict[str, str]:
    """Set every `KEY=VALUE` in place, in the given order.

    Args:
        content: A suite as plain data.
        overrides: As `--set` has them.

    Returns:
        Dotted key -> the text of its override.

    Raises:
        RequestError: A key is set twice, or set and then replaced as a part of another one, or
            there is no such place.
    """
    texts: dict[str, str] = {}
    for override in overrides:
        key, value = read_override(override)
        keys = split_key(key)
        dotted = ".".join(part.text for part in keys)
        if dotted in texts:
            raise RequestError(f"--set {override}: {dotted} is set twice; give it once")
        if lost := next((text for own, text in texts.items() if own.startswith(f"{dotted}.")), ""):
            raise RequestError(
                f"--set {override}: replaces all of {dotted}, and --set {lost} with it; "
                f"give --set {lost} after it, or only one of them"
            )
        texts[dotted] = override
        require_known_variant(keys, content.get("variants"), override)
        assign(content, keys, value, override)
    return texts


def split_key(key: str) -> Parts:
    """`losses."pml.ArcFaceLoss".margin` -> losses, pml.ArcFaceLoss, margin."""
    return tuple(Part(found.strip("\"'"), found[0] in "\"'") for found in re.findall(_PART, key))


def assign(node: Any, keys: Parts, value: Any, text: str) -> None:
    """Set a dotted key in place; a list of named things is entered by the name.

    A name that has dots is found as it is written: `losses.pml.ArcFaceLoss.margin`.

    Args:
        node: Plain data, a mapping at the top.
        keys: From the outermost inwards.
        value: What the key gets.
        text: The whole `--set`, for messages.

    Raises:
        RequestError: There is no such place, or there are two.
    """
    if isinstance(node, list):
        _assign_in_list(node, keys, value, text)
    elif not isinstance(node, dict):
        raise RequestError(f"--set {text}: there is nothing below a plain value")
    else:
        head, rest = _enter(keys, node, text) or (keys[0].text, keys[1:])
        if not rest:
            node[head] = value
            return
        if node.get(head) is None:
            node[head] = {}
        if isinstance(node[head], str):
            node[head] = {"name": node[head]}
        assign(node[head], rest, value, text)


def _assign_in_list(node: list[Any], keys: Parts, value: Any, text: str) -> None:
    names = [_name_of(item) for item in node]
    known = [name for name in names if name is not None]
    if not known:
        raise RequestError(f"--set {text}: a list of values can only be set as a whole")
    found = _enter(keys, known, text, below=True)
    if found is None:
        whole = ".".join(part.text for part in keys)
        if whole in known:
            raise RequestError(f"--set {text}: should be losses.{whole}.PARAMETER=VALUE")
        hint = did_you_mean(nearest_start(keys, known), known)
        raise RequestError(f"--set {text}: should be losses.NAME.PARAMETER=VALUE{hint}")
    head, rest = found
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


def _enter(
    keys: Parts, known: Iterable[str], text: str, *, below: bool = False
) -> tuple[str, Parts] | None:
    """The known name with which a key starts, and the rest of the key; None without one.

    Args:
        keys: Parts of the key.
        known: Names that can be entered here.
        text: The whole `--set`, for messages.
        below: Whether the key has to go on below the name.

    Raises:
        RequestError: It starts with two of them.
    """
    readings = [
        (name, keys[count:])
        for count, name in enumerate(_starts(keys), 1)
        if name in known and (count < len(keys) or not below)
    ]
    if len(readings) > 1:
        shown = [".".join(map(str, (Part(name, True), *rest))) for name, rest in readings]
        raise RequestError(
            f"--set {text}: can mean {' or '.join(shown)}; put the name in quotes like that"
        )
    return readings[0] if readings else None


def _starts(keys: Parts) -> list[str]:
    """The names with which a key can start: `a`, `a.b`, `a.b.c`; a quoted part alone."""
    if keys[0].quoted:
        return [keys[0].text]
    plain_parts = [part.text for part in keys[: _unquoted(keys)]]
    return [".".join(plain_parts[:count]) for count in range(1, len(plain_parts) + 1)]


def _unquoted(keys: Parts) -> int:
    """How many parts come before the first quoted one."""
    return next((place for place, part in enumerate(keys) if part.quoted), len(keys))


def nearest_start(keys: Parts, known: Iterable[str]) -> str:
    """The start of a key that is most like one of the known names."""
    listed = list(known)

    def likeness(name: str) -> float:
        return max(SequenceMatcher(None, name.lower(), own.lower()).ratio() for own in listed)

    return max(_starts(keys), key=likeness)


def require_known_variant(keys: Parts, variants: Any, text: str) -> None:
    """Refuse a key below an unknown variant: `variants.2D.model...` would make a new column.

    Raises:
        RequestError: The suite has no such variant.
    """
    if len(keys) < 3 or keys[0].text != "variants" or not isinstance(variants, dict):
        return
    names = [str(name) for name in variants]
    if not any(name in names for name in _starts(keys[1:])):
        start = nearest_start(keys[1:], names) if names else keys[1].text
        known = did_you_mean(start, names)
        raise RequestError(f"--set {text}: the suite has no variant {start!r}{known}")


def _name_of(item: Any) -> str | None:
    """`softmax` or `{lgm: {...}}`; None where an item of a list has no name."""
    if isinstance(item, str):
        return item
    if isinstance(item, dict) and len(item) == 1:
        return str(next(iter(item)))
    return None
