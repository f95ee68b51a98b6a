"""Order of the tables of a report: the headline first, then the other metrics by kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lossbench.analysis.tables import Table
from lossbench.report.combined_table import combine_metrics, overview_tables
from lossbench.report.display import DisplayTable
from lossbench.report.metric_groups import GroupedTables, group_tables
from lossbench.report.metric_tables import tables_by_metric
from lossbench.report.value_text import counted

HEADLINE = "Accuracy"
"""Title of the headline's overview; several metrics are in it only if they are of this kind."""


@dataclass(frozen=True)
class Section:
    """Metrics of one kind.

    Attributes:
        title: Heading.
        count: Number of metrics, as text: `16 metrics`.
        overviews: Tables with all metrics of the section.
        details: Values, verdicts and ranks of the single metrics.
    """

    title: str
    count: str
    overviews: tuple[DisplayTable, ...]
    details: tuple[DisplayTable, ...]


@dataclass(frozen=True)
class Layout:
    """Tables in the order of a report.

    Attributes:
        overviews: Tables with all metrics, or with those of the headline if there are many.
        headline: Values, verdicts and ranks of the headline.
        sections: The other metrics.
        folded: Whether there are so many metrics that sections are folded.
    """

    overviews: tuple[DisplayTable, ...]
    headline: tuple[DisplayTable, ...]
    sections: tuple[Section, ...]
    folded: bool


def make_layout(tables: Sequence[Table]) -> Layout:
    """Order the tables of a suite.

    With many metrics, only the first metric of the headline has its verdicts on the first screen.
    """
    grouped = group_tables(tables)
    shown = dict(zip(map(id, grouped.tables), tables_by_metric(grouped.tables), strict=True))

    def details(listed: Sequence[Table]) -> tuple[DisplayTable, ...]:
        return tuple(part for table in listed for part in shown[id(table)])

    def section(title: str, listed: Sequence[Table], overviews: list[DisplayTable]) -> Section:
        return Section(title, counted(len(listed), "metric"), tuple(overviews), details(listed))

    if not grouped.folded:
        combined = combine_metrics(tables)
        return Layout(
            () if combined is None else (combined,),
            details(grouped.headline),
            tuple(section(group.title, group.tables, []) for group in grouped.groups),
            folded=False,
        )
    others = [
        section(group.title, group.tables, overview_tables(group.tables, group.title))
        for group in grouped.groups
    ]
    first, rest = split_headline(grouped)
    if rest:
        others.insert(0, section(f"{HEADLINE}: further metrics", rest, []))
    tested = [table for table in grouped.headline if not table.held_out]
    return Layout(
        tuple(overview_tables(tested, HEADLINE)), details(first), tuple(others), folded=True
    )


def split_headline(grouped: GroupedTables) -> tuple[tuple[Table, ...], tuple[Table, ...]]:
    """The tables of the held-out part with the first metric of the headline, and the others."""
    held_out = [table for table in grouped.headline if table.held_out]
    tested = [table for table in grouped.headline if not table.held_out]
    return (*held_out, *tested[:1]), tuple(tested[1:])
