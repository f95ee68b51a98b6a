"""Tables and answers as Markdown.

Written by hand: tabulate pads the columns, so that one longer cell would change every line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lossbench.report.answer import Answer
from lossbench.report.display import DisplayCell, DisplayTable
from lossbench.report.escaping import markdown_sentence, markdown_text

ALIGNMENTS = {"text": "---", "number": "---:"}


def markdown_answer(answer: Answer) -> str:
    """Item of a list."""
    column = f"{markdown_text(answer.variant)}: " if answer.variant else ""
    lead = f"**{markdown_text(answer.lead)}** " if answer.lead else ""
    return f"- {column}{lead}{markdown_sentence(answer.text)}."


def markdown_tables(tables: Iterable[DisplayTable]) -> str:
    """Pipe tables, each with its title and the sentences that belong to it."""
    return "\n".join(line for table in tables for line in markdown_lines(table))


def markdown_lines(table: DisplayTable) -> list[str]:
    """Lines of one table; blank lines separate its parts."""
    lines = []
    if table.folded:
        lines += [f"<details><summary>{markdown_text(table.title)}</summary>", ""]
    elif table.title:
        mark = "*" if table.subordinate else "**"
        lines += [f"{mark}{markdown_text(table.title)}{mark}", ""]
    if table.rows:
        lines.append(_line([markdown_text(column.heading) for column in table.columns]))
        lines.append(_line([ALIGNMENTS[column.kind] for column in table.columns]))
        lines += [_line(list(map(_cell, row))) for row in table.rows]
        lines.append("")
    if table.legend:
        lines += [markdown_sentence(table.legend), ""]
    for prefix, listed in (("", table.findings), ("Warning: ", table.warnings)):
        if listed:
            lines += [*(f"- {prefix}{markdown_sentence(line)}" for line in listed), ""]
    for note in table.notes:
        lines += [markdown_sentence(note), ""]
    return [*lines, "</details>", ""] if table.folded else lines


def _line(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _cell(cell: DisplayCell) -> str:
    text = markdown_text(cell.text)
    interval = cell.views.interval if cell.views else ""
    small = "; ".join(markdown_text(part) for part in (cell.detail, cell.count, interval) if part)
    return (
        (f"**{text}**" if cell.strong else text)
        + (f" ({small})" if small else "")
        + (" ← chosen" if cell.chosen else "")
    )
