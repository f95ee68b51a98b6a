"""Docstrings of torchvision as plain text in Google style."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

_ITEM = re.compile(r"^    (\w+) ?\((?:[^()]|\([^()]*\))*\): *(.*)$")
"""First line of the description of an argument: `    p (float, optional): probability ...`."""
_INTRODUCTION = re.compile(r" [^.]*:$")
"""Beginning of a list that follows a description: `Possible values are:`."""


class LibraryDocstring(NamedTuple):
    """Parts of a docstring.

    Attributes:
        summary: First sentences, in one line.
        arguments: Section `Args`, with the blank line before it; empty if it lacks an argument.
    """

    summary: str
    arguments: str


def read_docstring(documented: Any, arguments: Iterable[str]) -> LibraryDocstring:
    """Read the docstring of a class or function of torchvision.

    Args:
        documented: The class or function.
        arguments: Names of the arguments to keep.
    """
    text = inspect.cleandoc(documented.__doc__ or f"{documented.__name__} of torchvision.")
    summary = _plain(" ".join(text.partition("\n\n")[0].split()))
    found: dict[str, str] = {}
    name = ""
    for line in text.partition("\nArgs:\n")[2].splitlines():
        if match := _ITEM.match(line):
            name = match[1]
            found[name] = match[2].strip()
        elif not line.startswith("     "):  # the end of the description's first paragraph
            name = ""
        elif name:
            found[name] = f"{found[name]} {line.strip()}".strip()
    wanted = list(arguments)
    if not wanted or not found.keys() >= set(wanted):
        return LibraryDocstring(summary, "")
    lines = [f"    {key}: {_INTRODUCTION.sub('', _plain(found[key]))}" for key in wanted]
    return LibraryDocstring(summary, "\n".join(["", "", "Args:", *lines]))


def _plain(text: str) -> str:
    """Text without the markup of reStructuredText."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", text)  # :class:`torch.Tensor`
    text = re.sub(r"`([^`<]+?) ?<([^>]+)>`_+", r"\1 (\2)", text)  # `title <link>`_
    return text.replace("``", "").replace("`", "")
