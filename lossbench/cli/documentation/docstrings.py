"""Google-style docstrings, taken apart."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from typing import Any

_SECTION = re.compile(r"^([A-Z][a-z]+):(?: (.*))?$")
_ITEM = re.compile(r"^    (\w[\w, ]*): (.*)$")


@dataclass
class Docstring:
    """Its first line, its paragraphs, and its sections' lines by title."""

    summary: str = ""
    body: list[str] = field(default_factory=list)
    sections: dict[str, list[str]] = field(default_factory=dict)

    def items(self, title: str) -> dict[str, str]:
        """`name: text` of a section, lines joined; `a, b: text` counts for both."""
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
        """A section as Markdown, its list as a list."""
        lines = inspect.cleandoc("\n".join(["", *self.sections.get(title, [])]))
        return lines.replace("\n- ", "\n\n- ")


def parse(thing: Any) -> Docstring:
    """Take the docstring of a class or function apart."""
    summary, _, rest = (inspect.getdoc(thing) or "").partition("\n")
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
