"""Text inside Markdown, HTML and the terminal.

Names of the user's (rows, variants, titles) are shown as they are. Sentences may mark code by
backticks, as in `selection`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from markupsafe import Markup, escape

_CODE = re.compile(r"`([^`\n]+)`")


def markdown_text(text: str) -> str:
    """Escape what Markdown or HTML inside it would interpret."""
    return re.sub(r"([\\`*_|<>\[\]&])", r"\\\1", text)


def markdown_sentence(text: str) -> str:
    """Escape a sentence, but for the code that it marks."""
    code = _CODE.split(text)  # text and code in turn
    return "".join(f"`{p}`" if i % 2 else markdown_text(p) for i, p in enumerate(code))


def html_sentence(text: str) -> Markup:
    """Escape a sentence; the code that it marks becomes <code>."""
    code = _CODE.split(text)
    parts = (
        Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(code)
    )
    return Markup("").join(parts)


def plain_sentence(text: str) -> str:
    """A sentence without marks."""
    return _CODE.sub(r"\1", text)


def pipes(fields: Iterable[str]) -> str:
    """A line of a pipe table."""
    return f"| {' | '.join(fields)} |"
