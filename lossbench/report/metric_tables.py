"""Tables of one metric: its values, the verdicts on them, and the ranks of the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lossbench.analysis.comparison import Verdict
from lossbench.analysis.number_format import (
    NOTHING,
    format_mean_std,
    format_signed,
    format_signed_interval,
)
from lossbench.analysis.published import Published
from lossbench.analysis.rank_bootstrap import Ranks
from lossbench.analysis.tables import Cell, Table
from lossbench.report.display import (
    Column,
    DisplayCell,
    DisplayTable,
    Views,
    name_cells,
    name_columns,
    plain_cells,
)
from lossbench.report.verdict_text import (
    describe_verdict,
    find_verdict,
    format_p,
    format_seeds_to_decide,
    notes_once,
    verdict_and_difference,
    verdict_title,
)


def origin_lines(tables: Sequence[Table]) -> list[str]:
    """Changes from the suite file, and stored seeds that the tables lack; one line each."""
    return [f"{line}." for t in tables[:1] for line in (t.origin, t.more_seeds) if line]


def all_metric_tables(tables: Sequence[Table]) -> list[DisplayTable]:
    """Values, verdicts and ranks of every metric; notes that repeat are kept once."""
    shown = []
    for table, notes in zip(tables, notes_once(tables), strict=True):
        shown.append(value_table(table))
        if table.verdicts:
            shown.append(verdict_table(table, notes))
        if table.ranks:
            shown.append(rank_table(table.ranks))
    return shown


def value_table(table: Table) -> DisplayTable:
    """Mean ± std of every cell, next to published numbers."""
    columns = [Column("loss", "text")]
    for variant in table.variants:
        columns.append(Column(table.heading(variant)))
        if table.has_published(variant):
            columns.append(Column("published", published=True))
    rows = []
    for row in table.rows:
        cells = [DisplayCell(row.label)]
        for variant in table.variants:
            cell = table.cells.get((variant, row.label))
            cells.append(_value_cell(table, cell) if cell else DisplayCell())
            if table.has_published(variant):
                cells.append(DisplayCell(format_published(cell.published if cell else None)))
        rows.append(tuple(cells))
    return DisplayTable(
        table.title,
        tuple(columns),
        tuple(rows),
        legend=table.legend,
        findings=table.findings,
        warnings=table.notes,
    )


def _value_cell(table: Table, cell: Cell) -> DisplayCell:
    verdict = find_verdict(table, cell.variant, cell.row.label)
    judged = table.verdicts is not None and bool(table.verdicts.listed)
    mean = cell.summary.mean
    return DisplayCell(
        cell.value,
        "best" if cell.best else "",
        cell.chosen,
        count=cell.count,
        incomplete=not cell.summary.complete,
        views=Views(
            interval=cell.interval,
            seeds=cell.single_seeds,
            verdict=verdict_and_difference(verdict, table.spec) if judged else "",
            outcome=verdict.outcome if verdict else "",
        ),
        sort_key="" if mean is None else str(mean),
    )


def format_published(number: Published | None) -> str:
    """`1.17 ± 0.01`; empty without a number."""
    return format_mean_std(number.mean, number.std) if number else ""


def verdict_table(table: Table, notes: Iterable[str]) -> DisplayTable:
    """Difference to the reference row and verdict for every other row, with the given notes."""
    verdicts = table.verdicts
    if verdicts is None or not verdicts.listed:
        return DisplayTable("", subordinate=True, notes=tuple(notes))
    columns = (
        *name_columns(table.has_columns),
        Column("verdict", "text"),
        Column("difference"),
        Column("95 % interval"),
        Column("p (Holm)", in_terminal=False),
        Column("seeds to decide"),
    )
    rows = tuple(tuple(_verdict_cells(table, verdict)) for verdict in verdicts.listed)
    title = verdict_title(verdicts, table.unit)
    return DisplayTable(title, columns, rows, subordinate=True, notes=tuple(notes))


def _verdict_cells(table: Table, verdict: Verdict) -> list[DisplayCell]:
    gap, spec = verdict.difference, table.spec
    return [
        *name_cells(verdict.row, verdict.variant, table.has_columns),
        DisplayCell(describe_verdict(verdict), verdict.outcome),
        DisplayCell(format_signed(gap.mean, spec)),
        DisplayCell(format_signed_interval(gap.interval, spec)),
        DisplayCell(format_p(verdict.p_holm)),
        DisplayCell(format_seeds_to_decide(verdict) or NOTHING),
    ]


def rank_table(ranks: Ranks) -> DisplayTable:
    """Average rank of every row, with the rank in each column."""
    headings = ("rank", "95 % interval", *ranks.variants)
    rows = []
    for rank in ranks.listed:
        over = rank.interval
        interval = f"{over.low:.2f} to {over.high:.2f}" if over else NOTHING
        by_variant = (f"{value:g}" for value in rank.by_variant.values())
        rows.append(tuple(plain_cells([rank.row, f"{rank.mean:.2f}", interval, *by_variant])))
    return DisplayTable(
        "Average rank",
        (Column("loss", "text"), *map(Column, headings)),
        tuple(rows),
        subordinate=True,
        notes=(ranks.note,),
    )
