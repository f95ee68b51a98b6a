"""Parser of Google-style docstrings."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from typing import Any

from lossbench.registry import Entry

_SECTION = re.compile(r"^([A-Z][a-z]+):(?: (.*))?$")
_ITEM = re.compile(r"^    (\w[\w, ]*): (.*)$")


@dataclass
class Docstring:
    """Parts of a docstring.

    Attributes:
        summary: First line.
        body: Lines before the first section.
        sections: Title of a section -> its lines.
    """

    summary: str = ""
    body: list[str] = field(default_factory=list)
    sections: dict[str, list[str]] = field(default_factory=dict)

    def items(self, title: str) -> dict[str, str]:
        """Return the items `name: text` of a section; `a, b: text` gives one for each name."""
        found: dict[str, str] = {}
        names: list[str] = []
        for line in self.sections.get(title, []):
            if match := _ITEM.match(line):
                names = [name.strip().rstrip("_") for name in match[1].split(",")]
                found |= dict.fromkeys(names, match[2])
            else:
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
        return found

    def text(self, title: str) -> str:
        """Return a section as Markdown."""
        lines = inspect.cleandoc("\n".join(["", *self.sections.get(title, [])]))
        return lines.replace("\n- ", "\n\n- ")


def parse_docstring(thing: Any) -> Docstring:
    """Parse the docstring of a class or function, but not one that a class inherits."""
    summary, _, rest = inspect.cleandoc(thing.__doc__ or "").partition("\n")
    parsed = Docstring(summary)
    lines = parsed.body
    for line in rest.splitlines():
        if match := _SECTION.match(line):
            lines = parsed.sections.setdefault(match[1], [])
            if match[2]:
                lines.append(f"    {match[2]}")
        else:
            lines.append(line)
    return parsed


def parameter_meanings(entry: Entry[Any]) -> dict[str, str]:
    """Return the descriptions of an entry's parameters, from the docstrings of its functions."""
    shared = parse_docstring(entry.finish).items("Args") if entry.finish else {}
    return {**shared, **parse_docstring(entry.factory).items("Args")}


def equation_of(thing: Any) -> list[str]:
    """Return the lines of a docstring's paragraph with a line `L = ...`; [] without one."""
    for paragraph in (inspect.getdoc(thing) or "").split("\n\n"):
        lines = paragraph.splitlines()
        if any(line.startswith("L = ") for line in lines):
            return lines
    return []
