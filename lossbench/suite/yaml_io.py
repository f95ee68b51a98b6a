"""YAML as plain data, without tags and of bounded size, and the overrides of `--set KEY=VALUE`."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.parser import RoundTripParser

from lossbench.errors import Loc, Problem, RequestError, did_you_mean
from lossbench.errors.redaction import holds_secret

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 40
MAX_VALUES = 20_000
"""Maximum number of values of a document with its aliases expanded: a few lines of aliases can
expand to billions of values."""
_PART = r""""[^"]+"|'[^']+'|[^."']+"""


def parse(text: str, where: str) -> Any:
    """Parse YAML and keep its line numbers.

    Args:
        text: One document.
        where: File or `--set` option, for messages.

    Raises:
        RequestError: The text is not YAML, has a tag, is too long or is nested too deeply.
    """
    if len(text) > MAX_CHARACTERS:
        raise RequestError(f"{where}: is longer than {MAX_CHARACTERS:,} characters")
    # round-trip mode keeps line marks; it makes plain data only and runs no code
    reader = YAML(typ="rt", pure=True)
    reader.Parser = functools.partial(_PlainParser, where)
    try:
        return reader.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = (error.problem or error.context or "cannot be parsed").partition("\n")[0]
        raise RequestError(f"{where}: broken YAML: {place}{problem}") from None
    except (YAMLError, ValueError) as error:
        first = str(error).partition("\n")[0]
        raise RequestError(f"{where}: broken YAML: {first}") from None


class _PlainParser(RoundTripParser):
    """Parser that refuses tags and deep nesting, before ruamel's recursive composer gets there.

    Args:
        where: File or `--set` option, for messages.
        loader: As of the base class.
    """

    def __init__(self, where: str, loader: YAML) -> None:
        super().__init__(loader)
        self._where, self._depth = where, 0

    def get_event(self) -> Any:
        """The next event.

        Raises:
            RequestError: It has a tag or is nested too deeply.
        """
        event = super().get_event()
        if isinstance(event, CollectionStartEvent):
            self._depth += 1
        elif isinstance(event, CollectionEndEvent):
            self._depth -= 1
        place = f"{self._where}:{event.start_mark.line + 1}"
        if self._depth > MAX_DEPTH:
            raise RequestError(f"{place}: more than {MAX_DEPTH} levels of nesting")
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise RequestError(f"{place}: the tag {tag} is not allowed; plain values only")
        return event


def plain(document: Any, where: str) -> Any:
    """Convert a parsed document to plain Python data, with aliases expanded.

    Raises:
        RequestError: The expanded document is too large, or an alias refers to its own parent.
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
    """One problem per value with a credential, because reports and MLflow show the suite's values.

    Args:
        node: Plain data.
        loc: Location of `node`.
    """
    if isinstance(node, dict | list):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            yield from secret_problems(value, (*loc, key))
    elif isinstance(node, str) and loc:
        # a short value, as in `token: cls`, is not a credential
        named = len(node) >= 8 and holds_secret(f"{loc[-1]}={node}")
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
        quoted: Whether it was quoted and is therefore a whole name; unquoted parts may together be
            a name with dots.
    """

    text: str
    quoted: bool = False

    def __str__(self) -> str:
        return f'"{self.text}"' if self.quoted else self.text


Parts = tuple[Part, ...]


def read_override(override: str) -> tuple[str, Any]:
    """Split `KEY=VALUE` of `--set` into the key and the value, which is parsed as YAML.

    Raises:
        RequestError: The text does not have this form.
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
        overrides: `KEY=VALUE` texts of `--set`.

    Returns:
        Dotted key -> the text of its override.

    Raises:
        RequestError: A key is set twice, a key is replaced by a later override of its parent, or a
            key cannot be assigned.
    """
    texts: dict[str, str] = {}
    for override in overrides:
        key, value = read_override(override)
        keys = _with_whole_recipe_key(split_key(key))
        dotted = ".".join(part.text for part in keys)
        if dotted in texts:
            raise RequestError(f"--set {override}: {dotted} is set twice; give it once")
        if lost := next(
            (text for set_key, text in texts.items() if set_key.startswith(f"{dotted}.")), ""
        ):
            raise RequestError(
                f"--set {override}: replaces all of {dotted}, and --set {lost} with it; "
                f"give --set {lost} after it, or only one of them"
            )
        texts[dotted] = override
        _require_known_variant(keys, content.get("variants"), override)
        assign(content, keys, value, override)
    return texts


def _with_whole_recipe_key(keys: Parts) -> Parts:
    """`tune.recipe.optimizer.lr.grid` -> tune, recipe.optimizer.lr, grid."""
    if keys[0].text != "tune" or len(keys) < 3 or keys[1].quoted:
        return keys
    end = 4 if keys[2].text in ("optimizer", "schedule") else 3
    name = ".".join(part.text for part in keys[1:end])
    return (keys[0], Part(name, quoted=True), *keys[end:])


def split_key(key: str) -> Parts:
    """`losses."pml.ArcFaceLoss".margin` -> losses, pml.ArcFaceLoss, margin."""
    return tuple(Part(found.strip("\"'"), found[0] in "\"'") for found in re.findall(_PART, key))


def assign(node: Any, keys: Parts, value: Any, text: str) -> None:
    """Set a dotted key in place; items of a list are addressed by their names.

    Names with dots need no quotes: `losses.pml.ArcFaceLoss.margin`.

    Args:
        node: Plain data, a mapping at the top.
        keys: Parts of the key, the outermost first.
        value: New value of the key.
        text: `KEY=VALUE`, for messages.

    Raises:
        RequestError: The key cannot be assigned, or is ambiguous.
    """
    if isinstance(node, list):
        _assign_in_list(node, keys, value, text)
    elif not isinstance(node, dict):
        raise _not_a_mapping(keys, text)
    else:
        head, rest = _match_name(keys, node, text) or (keys[0].text, keys[1:])
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
    found = _match_name(keys, known, text, below=True)
    if found is None:
        whole = ".".join(part.text for part in keys)
        key = text.partition("=")[0].strip()
        if whole in known:
            raise RequestError(f"--set {text}: should be {key}.PARAMETER=VALUE")
        hint = did_you_mean(_nearest_name(keys, known), known)
        parent = key.removesuffix(whole) if key.endswith(whole) else f"{key.partition('.')[0]}."
        raise RequestError(f"--set {text}: should be {parent}NAME.PARAMETER=VALUE{hint}")
    head, rest = found
    for index, name in enumerate(names):
        if name != head:
            continue
        item = node[index]
        params = item[head] if isinstance(item, dict) else None
        if not isinstance(params, dict | None):
            raise _not_a_mapping(rest, text)
        params = dict(params or {})
        assign(params, rest, value, text)
        node[index] = {head: params}


def _not_a_mapping(keys: Parts, text: str) -> RequestError:
    """The error for an override of a key below a plain value.

    Args:
        keys: Parts of the key below the value.
        text: `KEY=VALUE`, for messages.
    """
    parts = [part.text for part in split_key(text.partition("=")[0])]
    count = len(parts) - len(keys)
    parent, key = ".".join(parts[:count]), ".".join(parts[count:])
    return RequestError(f"--set {text}: {parent} is a value, not a mapping; it has no key {key!r}")


def _match_name(
    keys: Parts, known: Iterable[str], text: str, *, below: bool = False
) -> tuple[str, Parts] | None:
    """The known name with which a key starts, and the rest of the key; None if no name matches.

    Args:
        keys: Parts of the key.
        known: Names to match.
        text: `KEY=VALUE`, for messages.
        below: Whether the rest of the key must not be empty.

    Raises:
        RequestError: Two names match.
    """
    readings = [
        (name, keys[count:])
        for count, name in enumerate(_possible_names(keys), 1)
        if name in known and (count < len(keys) or not below)
    ]
    if len(readings) > 1:
        shown = [".".join(map(str, (Part(name, True), *rest))) for name, rest in readings]
        raise RequestError(
            f"--set {text}: can mean {' or '.join(shown)}; put the name in quotes like that"
        )
    return readings[0] if readings else None


def _possible_names(keys: Parts) -> list[str]:
    """Names with which a key may start: `a`, `a.b`, `a.b.c`; a quoted part is a whole name."""
    if keys[0].quoted:
        return [keys[0].text]
    plain_parts = [part.text for part in keys[: _count_unquoted(keys)]]
    return [".".join(plain_parts[:count]) for count in range(1, len(plain_parts) + 1)]


def _count_unquoted(keys: Parts) -> int:
    """Number of parts before the first quoted part."""
    return next((index for index, part in enumerate(keys) if part.quoted), len(keys))


def _nearest_name(keys: Parts, known: Iterable[str]) -> str:
    """The possible name of a key that is most similar to a known name."""
    known_names = [name.lower() for name in known]

    def similarity(name: str) -> float:
        return max(SequenceMatcher(None, name.lower(), other).ratio() for other in known_names)

    return max(_possible_names(keys), key=similarity)


def _require_known_variant(keys: Parts, variants: Any, text: str) -> None:
    """Refuse a key below an unknown variant: `variants.2D.model...` would add a column.

    Raises:
        RequestError: The suite does not have this variant.
    """
    if len(keys) < 3 or keys[0].text != "variants" or not isinstance(variants, dict):
        return
    names = [str(name) for name in variants]
    if not any(name in names for name in _possible_names(keys[1:])):
        start = _nearest_name(keys[1:], names) if names else keys[1].text
        known = did_you_mean(start, names)
        raise RequestError(f"--set {text}: the suite has no variant {start!r}{known}")


def _name_of(item: Any) -> str | None:
    """Name of a list item, `softmax` or `{lgm: {...}}`; None if it has no name."""
    if isinstance(item, str):
        return item
    if isinstance(item, dict) and len(item) == 1:
        return str(next(iter(item)))
    return None
