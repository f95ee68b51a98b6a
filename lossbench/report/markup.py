"""Text inside Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable


def markdown_text(text: str) -> str:
    """Escape what Markdown or HTML inside it would interpret."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)


def pipes(fields: Iterable[str]) -> str:
    """A line of a pipe table."""
    return f"| {' | '.join(fields)} |"
