"""All tables of a suite as one text: Markdown, CSV, JSON or LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lossbench.analysis.tables import Table, make_tables
from lossbench.planning.selection import PlanWithResults
from lossbench.report.combined_table import combine_metrics
from lossbench.report.data_files import csv, json_lines
from lossbench.report.escaping import markdown_text
from lossbench.report.latex import latex_tables
from lossbench.report.markdown import markdown_tables
from lossbench.report.metric_tables import all_metric_tables, origin_lines


def render(found: PlanWithResults, format: str) -> str:
    """All tables of a suite as text.

    Args:
        found: Plan of the suite with its results.
        format: One of `FORMATS`.

    Raises:
        KeyError: The format is none of them.
    """
    return FORMATS[format](make_tables(found))


def markdown(tables: Sequence[Table]) -> str:
    """Every metric in a table of its own; before these, many metrics in one table."""
    combined = combine_metrics(tables)
    shown = [*([combined] if combined else []), *all_metric_tables(tables)]
    origin = (f"{markdown_text(line)}\n\n" for line in origin_lines(tables))
    return "".join(origin) + markdown_tables(shown)


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "markdown": markdown,
    "csv": csv,
    "json": json_lines,
    "latex": latex_tables,
}
"""Values of `lossbench report --format`."""
