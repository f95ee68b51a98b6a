"""Tables for the terminal."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from lossbench.analysis.number_format import NOTHING
from lossbench.analysis.tables import Table, make_tables
from lossbench.planning.selection import PlanWithResults
from lossbench.report.answer import Answer, headline_table, make_answers
from lossbench.report.chosen_table import chosen_table
from lossbench.report.combined_table import MAX_ROWS, combine_metrics, overview_tables
from lossbench.report.display import DisplayCell, DisplayTable
from lossbench.report.escaping import plain_sentence
from lossbench.report.figure_columns import columns_with_figures
from lossbench.report.forest import TextForest, forest_panels
from lossbench.report.layout import HEADLINE, split_headline
from lossbench.report.metric_groups import GroupedTables, MetricGroup, group_tables
from lossbench.report.metric_tables import origin_lines, value_table, verdict_table
from lossbench.report.remarks import make_remarks
from lossbench.report.value_text import join_names
from lossbench.report.verdict_text import (
    notes_once,
    out_of_line_warnings,
    verdict_notes,
    verdict_title,
)

STYLES = {
    "best": "bold green",
    "better": "bold green",
    "worse": "red",
    "equivalent": "cyan",
    "none": "yellow",
}
MIN_WIDTH = 8
"""Characters to which a heading may be wrapped."""


def terminal_table(
    found: PlanWithResults, tables: Sequence[Table] | None = None, *, every_column: bool = False
) -> RenderableType:
    """The answer, the verdicts on the headline metric, and all tables; many metrics in one.

    Args:
        found: Plan of the suite with its results.
        tables: Their tables, if they are already made.
        every_column: Whether to show the answers and verdicts of all columns, also if there are
            many.
    """
    columns = columns_with_figures(found.plan, every=every_column)
    tables = make_tables(found) if tables is None else tables
    grouped = group_tables(tables)
    first = headline_table(tables)
    parts = [*_answer(tables, columns), *(_verdicts(first, len(tables), columns) if first else ())]
    held_out = next((table for table in tables if table.held_out), None)
    if held_out and (chosen := chosen_table(first or held_out, held_out)):
        # in place of the table of all points, which are many
        parts += [*terminal_parts(replace(chosen, subordinate=False)), Text("")]
        sentences = make_remarks([held_out])[0]
        parts += terminal_parts(DisplayTable("", warnings=sentences.warnings))
        parts.append(Text("The held-out errors of all points are in the report.\n", style="dim"))
        tables = tuple(table for table in tables if not table.held_out)
        grouped = group_tables(tables)
    if grouped.folded:
        return Group(*parts, *_many_metrics(grouped))
    combined, remarks = combine_metrics(tables), make_remarks(tables)
    if combined is None:
        notes = notes_once([*([first] if first else []), *(t for t in tables if t is not first)])
        own_notes = iter(notes[1:] if first else notes)
        shown = []
        for table, own in zip(tables, remarks, strict=True):
            shown.append(value_table(table, own))
            if table is not first:
                shown.append(verdict_table(table, next(own_notes)))
    else:
        both = list(zip(tables, remarks, strict=True))
        own = next(own for table, own in both if not table.held_out)
        combined = replace(combined, findings=own.findings, warnings=own.warnings)
        shown = [*(value_table(table, own) for table, own in both if table.held_out), combined]
    return Group(*parts, *(part for table in shown for part in terminal_parts(table)))


def _answer(tables: Sequence[Table], columns: Collection[str]) -> Iterator[RenderableType]:
    """Changes of the suite, and the answer for these columns; the others are counted."""
    yield from map(Text, origin_lines(tables))
    answers, first = make_answers(tables), headline_table(tables)
    if not answers.listed:
        return
    yield Text(answers.metric, style="bold")
    shown = [answer for answer in answers.listed if answer.variant in ("", *columns)]
    for answer in shown:
        line = Text(plain_sentence(answer.sentence))
        if answer.lead:
            start = line.plain.index(answer.lead)
            style = STYLES.get(answer.outcome, "bold")
            line.stylize(style, start, start + len(answer.lead))
        yield line
    if others := [answer for answer in answers.listed if answer not in shown]:
        yield Text(
            _describe_others(others, reference=first is not None and first.verdicts is not None)
        )
    if answers.note:
        yield Text(answers.note, style="dim")


def _describe_others(others: Sequence[Answer], *, reference: bool) -> str:
    """`17 more columns are in the report, in 2 of which a loss is shown to beat the reference.`"""
    count = sum(answer.outcome == "better" for answer in others) or "none"
    beaten = f", in {count} of which a loss is shown to beat the reference" if reference else ""
    return f"{len(others)} more columns are in the report{beaten}; --figures all prints them, too."


def _verdicts(table: Table, metrics: int, columns: Collection[str]) -> Iterator[RenderableType]:
    """Forest plots of these columns of a table, with the table's notes."""
    panels = [panel for panel in forest_panels(table) if panel.variant in columns]
    if table.verdicts is None:
        return
    if panels:
        yield Text(f"\n{verdict_title(table.verdicts, table.unit)}", style="bold")
    for panel in panels:
        if table.has_variants:
            yield Text(panel.variant, style="bold")
        yield TextForest(panel, STYLES, table.higher_is_better, table.spec)
    notes = verdict_notes(table)
    if metrics > 1:
        notes.append(f"{table.label} only; the verdicts on other metrics are in the report.")
    yield from terminal_parts(
        DisplayTable("", warnings=out_of_line_warnings(table), notes=tuple(notes))
    )
    yield Text("")


def _many_metrics(grouped: GroupedTables) -> Iterator[RenderableType]:
    """Tables of the headline, and a line per kind of the other metrics."""
    remarks = dict(zip(map(id, grouped.tables), make_remarks(grouped.tables), strict=True))
    first, others = split_headline(grouped)
    for table in first:
        own = remarks[id(table)]
        overview = [] if table.held_out else _narrow_overview(grouped)
        if overview:
            others = ()
            shown = replace(overview[0], findings=own.findings, warnings=own.warnings)
        else:
            shown = value_table(table, own)
        yield from terminal_parts(shown)
    listed = [MetricGroup(HEADLINE, others)] if others else []
    lines = [
        f"{group.title}: {join_names([table.metric for table in group.tables])}"
        for group in (*listed, *grouped.groups)
    ]
    if lines:
        yield Text("\nOther metrics, whose tables are in the report:", style="bold")
    yield from (Text(f"  {line}") for line in lines)


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
    """A table that fits the terminal without breaks in its numbers.

    If the terminal is too narrow, optional columns are left out; if it still is, the other columns
    follow in further tables, each with the names of the rows.
    """

    table: DisplayTable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = self.table.columns
        unlimited = options.update(max_width=sys.maxsize)

        def measured(indices: Sequence[int]) -> Measurement:
            return console.measure(_rich_table(self.table, indices), options=unlimited)

        kept = list(range(len(columns)))
        for optional in [index for index in kept if columns[index].optional]:
            if measured(kept).minimum <= options.max_width:
                break
            kept.remove(optional)
        names = list(itertools.takewhile(lambda index: columns[index].kind == "text", kept))
        block = list(names)
        for index in kept[len(names) :]:
            too_wide = measured([*block, index]).maximum > options.max_width
            if too_wide and len(block) > len(names) and not self.table.subordinate:
                yield _rich_table(self.table, block)
                block = list(names)
            block.append(index)
        yield _rich_table(self.table, block)


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
    if cell.show_count:
        text.append(f" ({cell.count})", style="yellow" if cell.incomplete else "dim not bold")
    if cell.chosen:
        text.append(" ✓", style="bold green")
    if cell.detail:
        text.append(f"\n{cell.detail}", style="dim not bold")
    return text
