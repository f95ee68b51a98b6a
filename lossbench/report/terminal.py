"""Tables for the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from lossbench.analysis.number_format import NOTHING
from lossbench.analysis.tables import Table, make_tables
from lossbench.planning.selection import PlanWithResults
from lossbench.report.answer import make_answers
from lossbench.report.combined_table import MAX_ROWS, combine_metrics, overview_tables
from lossbench.report.display import DisplayCell, DisplayTable
from lossbench.report.escaping import plain_sentence
from lossbench.report.layout import HEADLINE, split_headline
from lossbench.report.metric_groups import GroupedTables, MetricGroup, group_tables
from lossbench.report.metric_tables import origin_lines, value_table, verdict_table
from lossbench.report.remarks import make_remarks
from lossbench.report.value_text import join_names
from lossbench.report.verdict_text import notes_once, verdict_notes

STYLES = {
    "best": "bold green",
    "better": "bold green",
    "worse": "red",
    "equivalent": "cyan",
    "none": "yellow",
}
MIN_WIDTH = 8
"""Characters to which a heading may be wrapped."""


def terminal_table(found: PlanWithResults) -> RenderableType:
    """All tables of a suite for `rich.print`; many metrics in one."""
    tables = make_tables(found)
    grouped = group_tables(tables)
    if grouped.folded:
        return _many_metrics(tables, grouped)
    combined, remarks = combine_metrics(tables), make_remarks(tables)
    if combined is None:
        shown = [
            part
            for table, notes, own in zip(tables, notes_once(tables), remarks, strict=True)
            for part in (value_table(table, own), verdict_table(table, notes))
        ]
    else:
        both = list(zip(tables, remarks, strict=True))
        first, own = next((table, own) for table, own in both if not table.held_out)
        combined = replace(combined, findings=own.findings, warnings=own.warnings)
        shown = [*(value_table(table, own) for table, own in both if table.held_out), combined]
        if first.verdicts is not None:
            others = sum(table.verdicts is not None for table in tables) - 1
            metrics = "metric" if others == 1 else "metrics"
            more = f"{first.label} only; the report has the other {others} {metrics}."
            shown.append(verdict_table(first, [*verdict_notes(first), more]))
    return Group(*_head(tables), *(part for table in shown for part in terminal_parts(table)))


def _head(tables: Sequence[Table]) -> list[Text]:
    """Changes of the suite, and the answer."""
    answers = make_answers(tables)
    lines = [*map(Text, origin_lines(tables)), Text(answers.metric, style="bold")]
    for answer in answers.listed:
        line = Text(plain_sentence(answer.sentence))
        line.highlight_words(
            [answer.lead] if answer.lead else [], STYLES.get(answer.outcome, "bold")
        )
        lines.append(line)
    return [*lines, Text(f"{answers.note}\n", style="dim")]


def _many_metrics(tables: Sequence[Table], grouped: GroupedTables) -> RenderableType:
    """The headline, and a line per kind of the other metrics."""
    remarks = dict(zip(map(id, grouped.tables), make_remarks(grouped.tables), strict=True))
    first, others = split_headline(grouped)
    shown: list[DisplayTable] = []
    for table in first:
        own = remarks[id(table)]
        overview = [] if table.held_out else _narrow_overview(grouped)
        if overview:
            others = ()
            shown += [replace(overview[0], findings=own.findings, warnings=own.warnings)]
            notes = [*verdict_notes(table), f"{table.label} only; the others are in the report."]
            shown.append(verdict_table(table, notes))
        else:
            shown += [value_table(table, own), verdict_table(table, verdict_notes(table))]
    listed = [MetricGroup(HEADLINE, others)] if others else []
    lines = [
        f"{group.title}: {join_names([table.metric for table in group.tables])}"
        for group in (*listed, *grouped.groups)
    ]
    return Group(
        *_head(tables),
        *(part for table in shown for part in terminal_parts(table)),
        *([Text("\nOther metrics, whose tables are in the report:", style="bold")] * bool(lines)),
        *(Text(f"  {line}") for line in lines),
    )


def _narrow_overview(grouped: GroupedTables) -> list[DisplayTable]:
    """Overview of the headline, if it fits a terminal."""
    tested = [table for table in grouped.headline if not table.held_out]
    if len(tested[0].variants) > 1:
        return []
    return overview_tables(tested, HEADLINE, MAX_ROWS)


def terminal_parts(table: DisplayTable) -> Iterator[RenderableType]:
    """One table with its title and the sentences that belong to it."""
    if table.title:  # not as rich's title, which would wrap at the table's own width
        yield Text("\n" * table.subordinate + table.title, style="bold")
    if table.rows:
        yield _FittedTable(table)
    for line in table.findings:
        yield Text(plain_sentence(line))
    for line in table.warnings:
        yield Text(f"warning: {plain_sentence(line)}", style="yellow")
    for line in table.notes:
        yield Text(plain_sentence(line), style="dim")


@dataclass(frozen=True)
class _FittedTable:
    """A table without the optional columns for which the terminal is too narrow."""

    table: DisplayTable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = self.table.columns
        kept = list(range(len(columns)))
        unlimited = options.update(max_width=sys.maxsize)
        for optional in [index for index in kept if columns[index].optional]:
            drawn = _rich_table(self.table, kept)
            if console.measure(drawn, options=unlimited).minimum <= options.max_width:
                break
            kept.remove(optional)
        yield _rich_table(self.table, kept)


def _rich_table(table: DisplayTable, kept: Sequence[int]) -> RichTable:
    drawn = RichTable(header_style="bold")
    if table.subordinate:
        drawn.box, drawn.pad_edge = None, False
    if any(cell.chosen for row in table.rows for cell in row):
        drawn.caption = "✓ chosen: the best mean of its loss in this column"
        drawn.caption_justify = "left"
    for index in kept:
        column = table.columns[index]
        width = _value_width(table, index) if table.subordinate else None
        drawn.add_column(
            Text(column.heading),
            justify="right" if column.kind == "number" else "left",
            overflow="fold",
            style="dim" if column.published else "",
            width=width,
        )
    for row in table.rows:
        drawn.add_row(*(_rich_cell(row[index]) for index in kept))
    return drawn


def _value_width(table: DisplayTable, index: int) -> int | None:
    """Width at which a column's heading wraps before its numbers do; None for text."""
    column = table.columns[index]
    if column.kind == "text":
        return None
    texts = (row[index].text for row in table.rows)
    return max(MIN_WIDTH, *map(len, [*column.heading.split(), *texts]))


def _rich_cell(cell: DisplayCell) -> Text:
    if cell == DisplayCell():
        return Text(NOTHING, style="dim")
    text = Text(cell.text, style=STYLES.get(cell.emphasis, ""))
    if cell.incomplete:  # a complete cell has the title's n
        text.append(f" ({cell.count})", style="yellow")
    if cell.chosen:
        text.append(" ✓", style="bold green")
    if cell.detail:
        text.append(f"\n{cell.detail}", style="dim not bold")
    return text
