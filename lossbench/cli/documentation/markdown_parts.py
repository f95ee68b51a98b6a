"""Markdown tables and inline code."""

from __future__ import annotations

from collections.abc import Iterable

Row = tuple[str, ...]


def table(headings: Row, rows: Iterable[Row]) -> str:
    """Return a table; empty text without rows."""
    cells = [[_cell(text) for text in row] for row in rows]
    if not cells:
        return ""
    lines = [headings, ["---"] * len(headings), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """Escape Markdown's special characters outside of inline code."""
    parts = text.replace("\n", " ").split("`")
    parts[::2] = [part.replace("|", "\\|").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts)


def code(text: str) -> str:
    """Return inline code; empty text as it is."""
    return f"`{text}`" if text else ""
