"""Small pieces of Markdown."""

from __future__ import annotations

from collections.abc import Iterable

Row = tuple[str, ...]


def table(headings: Row, rows: Iterable[Row]) -> str:
    """A table; empty without rows."""
    made = [[_cell(text) for text in row] for row in rows]
    if not made:
        return ""
    lines = [headings, ["---"] * len(headings), *made]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """Text between backticks is left as it is."""
    parts = text.replace("\n", " ").split("`")
    parts[::2] = [part.replace("|", "\\|").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts)


def code(text: str) -> str:
    return f"`{text}`" if text else ""
