"""All tables of a suite as one text: Markdown, CSV, JSON or LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lossbench.analysis.tables import Table, make_tables
from lossbench.planning.selection import PlanWithResults
from lossbench.report.answer import Answers, make_answers
from lossbench.report.data_files import csv, json_lines
from lossbench.report.escaping import markdown_text
from lossbench.report.latex import latex_tables
from lossbench.report.layout import make_layout
from lossbench.report.markdown import markdown_answer, markdown_tables
from lossbench.report.metric_tables import origin_lines


def render(found: PlanWithResults, format: str, command: str = "") -> str:
    """All tables of a suite as text.

    Args:
        found: Plan of the suite with its results.
        format: One of `FORMATS`.
        command: Command of the user, for formats that name it.

    Raises:
        KeyError: The format is none of them.
    """
    tables = make_tables(found)
    return latex_tables(tables, command) if format == "latex" else FORMATS[format](tables)


def markdown(tables: Sequence[Table], pictures: Sequence[str] = ()) -> str:
    """The answer; then every metric in a table of its own, after many metrics in one table.

    Kinds of metrics have headings; the tables of single metrics are folded if there are many.

    Args:
        tables: Tables of all metrics.
        pictures: Lines after the answer.
    """
    layout = make_layout(tables)
    parts = [f"{markdown_text(line)}\n\n" for line in origin_lines(tables)]
    parts += [f"{line}\n" for line in (*_answer_lines(make_answers(tables)), *pictures)]
    parts.append(markdown_tables([*layout.overviews, *layout.headline]))
    for section in layout.sections:
        parts += [f"\n## {markdown_text(section.title)}\n\n", markdown_tables(section.overviews)]
        details = markdown_tables(section.details)
        if layout.folded:
            summary = f"<summary>Tables of {section.count}</summary>"
            details = f"\n<details>{summary}\n\n{details}\n</details>\n"
        parts.append(details)
    return "".join(parts)


def _answer_lines(answers: Answers) -> list[str]:
    lines = [f"**{markdown_text(answers.metric)}**", ""] if answers.listed else []
    lines += map(markdown_answer, answers.listed)
    return [*lines, "", *([answers.note, ""] if answers.note else [])]


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "markdown": markdown,
    "csv": csv,
    "json": json_lines,
    "latex": latex_tables,
}
"""Values of `lossbench report --format`."""
