"""Errors, collections of problems, and their texts; messages for users contain no secrets."""

from __future__ import annotations

import difflib
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossbench.errors.redaction import redacted

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

Loc = tuple[str | int, ...]
"""Location of a key in a request (a suite, a baseline or options): keys and indices of lists, from
the outermost inwards."""

_UNION_BRANCH = re.compile(r"^(float|int|str|bool|none|constrained-\w+|(list|literal|dict)\[.*)$")


class LossbenchError(Exception):
    """Error that is reported to the user without a traceback; its message has no secrets.

    The exit code is 1, or 2 for a `RequestError`.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(redacted(message))


class RequestError(LossbenchError):
    """Wrong request, data or tracking store; usually found before anything is started."""

    exit_code = 2


class DataError(RequestError):
    """A data set is missing or incomplete, or differs from its description."""


class MissingDataError(DataError):
    """A data set is not on this machine yet."""


class TrackingError(RequestError):
    """The tracking server or database cannot be used."""


class NothingRecordedError(TrackingError):
    """Nothing has been run yet: there is no database, or it is empty."""


class UnusableComponentError(ValueError):
    """A user's component does not do what its kind requires; the message says what to change."""


class NotFiniteError(ValueError):
    """A trained model gave a number that is not finite where an evaluation needs a finite one."""


class UnknownNameError(RequestError):
    """A registry has no entry of this name."""

    def __init__(self, kind: str, name: str, known: Iterable[str], more: str = "") -> None:
        self.kind, self.name = kind, name
        super().__init__(f"unknown {kind} {name!r}{did_you_mean(name, known)}{more}")


class UnsupportedNameError(UnknownNameError):
    """A registry knows a name of a library, which cannot be used."""

    def __init__(self, kind: str, name: str, reason: str) -> None:
        self.kind, self.name = kind, name
        RequestError.__init__(self, f"{kind} {name!r} cannot be used here: {reason}")


_PLAIN_MESSAGES = {
    "model_type": "should be a mapping",
    "dict_type": "should be a mapping",
    "list_type": "should be a list",
    "string_pattern_mismatch": (
        "should have letters, digits, - and _ only, and start with a letter or digit"
    ),
}
"""Replacements of pydantic's own messages, by the type of its error."""


@dataclass(frozen=True)
class Problem:
    """A single fault of a request.

    Attributes:
        loc: Location of the key.
        message: Description of the fault and of valid values.
        value: The given value, if it is known.
    """

    loc: Loc
    message: str
    value: Any = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> str:
        """Dotted key without the indices of lists: `losses.lgm.alpha`."""
        return ".".join(part for part in self.loc if isinstance(part, str))

    def under(self, loc: Loc) -> Problem:
        """The same problem, located in the whole request; `loc` is the location of the part."""
        return replace(self, loc=(*loc, *self.loc))


class ProblemCollector:
    """Collects all problems of a request, so that they are reported together."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    @property
    def problems(self) -> list[Problem]:
        """The distinct problems in the order in which they were found."""
        return list(dict.fromkeys(self._problems))

    def __bool__(self) -> bool:
        return bool(self._problems)

    def add(self, loc: Loc, message: str) -> None:
        self._problems.append(Problem(loc, message))

    def extend(self, problems: Iterable[Problem], under: Loc = ()) -> None:
        """Add problems; `under` is the location of the part of the request that has them."""
        self._problems += [problem.under(under) for problem in problems]


class ParameterError(RequestError):
    """Parameters that a component (a loss, a model, an optimizer...) does not accept."""

    def __init__(self, owner: str, problems: Iterable[Problem]) -> None:
        self.owner, self.problems = owner, tuple(problems)
        listed = "; ".join(
            f"{problem.key}: {problem.message}" if problem.key else problem.message
            for problem in self.problems
        )
        super().__init__(f"{owner}: {listed}")


MAX_LISTED = 100
"""Maximum number of valid names that a message lists; if there are more, it lists three."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """End of an error message: the nearest valid name, and all valid names if they are few."""
    known = sorted(known)

    def plain(text: str) -> str:
        return text.lower().replace("-", "").replace("_", "")

    by_plain = {plain(candidate): candidate for candidate in known}
    few = len(known) <= MAX_LISTED
    near = difflib.get_close_matches(plain(str(name)), by_plain, n=1 if few else 3, cutoff=0.5)
    guess = f"; did you mean {' or '.join(repr(by_plain[n]) for n in near)}?" if near else ""
    if not few:
        return guess
    return f"{guess} (known: {', '.join(known)})" if known else guess


def truncated_repr(value: object) -> str:
    """First 100 characters of the `repr` of a value."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write out integers of thousands of digits
        number = "an integer of thousands of digits"
        return number if isinstance(value, int) else f"a {type(value).__name__} with {number}"
    return text if len(text) <= 100 else f"{text[:100]}..."


def first_line(error: BaseException) -> str:
    """First line of the message of an exception, or its type if there is none."""
    return str(error).partition("\n")[0] or type(error).__name__


def _plain_message(found: ErrorDetails) -> str:
    bounds = found.get("ctx", {})
    if found["type"] == "too_short":
        least = bounds["min_length"]
        return "should not be empty" if least == 1 else f"should have at least {least} entries"
    if found["type"] == "string_too_long":
        return f"should be at most {bounds['max_length']} characters"
    return _PLAIN_MESSAGES.get(found["type"], found["msg"])


def validation_problems(
    error: ValidationError, keys_at: Callable[[Loc], Iterable[str]]
) -> list[Problem]:
    """Convert pydantic's errors to messages for the user, one `Problem` per key.

    Args:
        error: Exception that pydantic raised.
        keys_at: Returns the valid keys of the mapping at a location, to suggest the nearest one.
    """
    messages: dict[Loc, list[str]] = {}
    values: dict[Loc, Any] = {}
    for found in error.errors():
        # a union reports each of its branches, with the branch's type in the location
        loc = tuple(p for p in found["loc"] if not _UNION_BRANCH.match(str(p)))
        if found["type"] == "invalid_key" or loc[-1:] == ("[key]",):
            loc = tuple(p for p in loc if p != "[key]")
            message = f"the key {loc[-1]} should be text: put it in quotes"
            if not isinstance(loc[-1], int):  # pydantic's own word, which is not in the file
                loc = loc[:-1]
        elif found["type"] == "extra_forbidden":
            message = f"unknown key{did_you_mean(str(loc[-1]), keys_at(loc[:-1]))}"
        elif found["type"] == "missing":
            message = "missing; it has no default"
        else:
            values.setdefault(loc, found["input"])
            text = _plain_message(found).removeprefix("Value error, ").removeprefix("Input ")
            message = text[:1].lower() + text[1:]
            shown = f", not {truncated_repr(found['input'])}"
            named = isinstance(found["input"], Mapping) or message.endswith(shown)
            if message.startswith("should") and not named:
                message += shown
        messages.setdefault(loc, []).append(message)
    return [
        Problem(loc, "; or ".join(dict.fromkeys(found)), values.get(loc))
        for loc, found in messages.items()
    ]


def format_exception(error: BaseException, file: Path | None = None) -> str:
    """Exception and its place in one line: `ValueError: no such file (my_losses.py:12)`.

    The place is the innermost frame in `file`, or the innermost of all frames if none is in it.
    """
    text = str(error).strip().partition("\n")[0]
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    in_file = [frame for frame in frames if file is not None and Path(frame.filename) == file]
    places = in_file or list(frames)
    if not places:
        return reason
    return f"{reason} ({Path(places[-1].filename).name}:{places[-1].lineno})"
