"""Tables of one metric: its values, the verdicts on them, and the ranks of the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lossbench.analysis.comparison import Verdict
from lossbench.analysis.number_format import (
    NOTHING,
    format_mean_std,
    format_signed,
    format_signed_interval,
)
from lossbench.analysis.published import Published
from lossbench.analysis.rank_bootstrap import RESAMPLES, Ranks
from lossbench.analysis.tables import Cell, Table
from lossbench.report.chosen_table import chosen_table
from lossbench.report.display import (
    Column,
    DisplayCell,
    DisplayTable,
    Views,
    name_cells,
    name_columns,
    plain_cells,
)
from lossbench.report.provenance import describe_changes, describe_more_seeds
from lossbench.report.remarks import Remarks, make_remarks
from lossbench.report.reproduction_text import describe_reproduction, reproduction_notes
from lossbench.report.value_text import (
    column_heading,
    format_cell_interval,
    format_count,
    format_seed_values,
    format_value,
    table_legend,
    table_title,
)
from lossbench.report.verdict_text import (
    corrected_for,
    describe_verdict,
    find_verdict,
    format_p,
    format_seeds_to_decide,
    is_paired_t_test,
    notes_once,
    out_of_line_warnings,
    verdict_and_difference,
    verdict_title,
)

NO_REMARKS = Remarks()
CLASSIC_TITLE = "Classic paired t test, which uses no other row"


def origin_lines(tables: Sequence[Table]) -> list[str]:
    """Changes from the suite file, and stored seeds that the tables lack; one line each."""
    plans = [table.found.plan for table in tables[:1]]
    lines = [line for plan in plans for line in (describe_changes(plan), describe_more_seeds(plan))]
    return [f"{line}." for line in lines if line]


def all_metric_tables(tables: Sequence[Table]) -> list[DisplayTable]:
    """Values, verdicts and ranks of every metric; notes that repeat are kept once."""
    return [shown for per_metric in tables_by_metric(tables) for shown in per_metric]


def tables_by_metric(tables: Sequence[Table]) -> list[list[DisplayTable]]:
    """Values, verdicts and ranks, for each metric; notes that repeat are kept once."""
    listed = []
    tested = (table for table in tables if not table.held_out)
    first = next(tested, next(iter(tables), None))
    per_table = zip(tables, notes_once(tables), make_remarks(tables), strict=True)
    for table, notes, remarks in per_table:
        shown = [value_table(table, remarks)]
        if table.held_out and table.found.plan.suite.tune:
            shown = _folded_points(table, remarks)
        if table is first:
            chosen = chosen_table(table, next((t for t in tables if t.held_out), None))
            shown += [chosen] if chosen else []
        if table.verdicts:
            shown += [verdict_table(table, notes), *classic_tables(table)]
        if table.ranks:
            shown.append(rank_table(table.ranks))
        listed.append(shown)
    return listed


def _folded_points(table: Table, remarks: Remarks) -> list[DisplayTable]:
    """The values of all points, which are many, folded; the remarks are shown."""
    sentences = DisplayTable("", findings=remarks.findings, warnings=remarks.warnings)
    return [replace(value_table(table), folded=True), sentences]


def value_table(table: Table, remarks: Remarks = NO_REMARKS) -> DisplayTable:
    """Mean ± std of every cell, next to published numbers, with the given remarks."""
    columns = [Column("loss", "text")]
    for variant in table.variants:
        columns.append(Column(column_heading(table, variant)))
        if table.has_published(variant):
            columns.append(Column("published", published=True))
    rows = []
    for row in table.rows:
        cells = [DisplayCell(row.label)]
        for variant in table.variants:
            cell = table.cells.get((variant, row.label))
            cells.append(value_cell(table, cell) if cell else DisplayCell())
            if table.has_published(variant):
                cells.append(_published_cell(table, cell))
        rows.append(tuple(cells))
    return DisplayTable(
        table_title(table),
        tuple(columns),
        tuple(rows),
        legend=table_legend(table),
        findings=remarks.findings,
        warnings=remarks.warnings,
        notes=tuple(reproduction_notes(table)),
    )


def value_cell(table: Table, cell: Cell) -> DisplayCell:
    """Mean ± std of one cell."""
    verdict = find_verdict(table, cell.variant, cell.row.label)
    judged = table.verdicts is not None and bool(table.verdicts.listed)
    mean = cell.summary.mean
    return DisplayCell(
        format_value(cell),
        "best" if cell.best else "",
        cell.chosen,
        count=format_count(cell.summary),
        incomplete=not cell.summary.complete,
        uneven=len(table.planned_seeds) > 1,
        views=Views(
            interval=format_cell_interval(cell),
            seeds=format_seed_values(cell),
            verdict=verdict_and_difference(verdict, table.spec) if judged else "",
            outcome=verdict.outcome if verdict else "",
        ),
        sort_key="" if mean is None else str(mean),
    )


def _published_cell(table: Table, cell: Cell | None) -> DisplayCell:
    if cell is None:
        return DisplayCell("")
    found = table.reproductions.get((cell.variant, cell.row.label))
    return DisplayCell(
        format_published(cell.published), detail=describe_reproduction(found, table.spec)
    )


def format_published(number: Published | None) -> str:
    """`1.17 ± 0.01`; empty without a number."""
    return format_mean_std(number.mean, number.std) if number else ""


def verdict_table(table: Table, notes: Iterable[str]) -> DisplayTable:
    """Difference to the reference row and verdict for every other row, with the given notes."""
    verdicts = table.verdicts
    if verdicts is None or not verdicts.listed:
        return DisplayTable("", subordinate=True, notes=tuple(notes))
    interval, p = _test_headings(table)
    columns = (
        *name_columns(table.has_variants),
        Column("verdict", "text"),
        Column("difference"),
        Column(interval),
        Column(p, optional=True),
        Column("seeds to decide", optional=True),
    )
    return DisplayTable(
        verdict_title(verdicts, table.unit),
        columns,
        tuple(tuple(_verdict_cells(table, verdict)) for verdict in verdicts.listed),
        subordinate=True,
        warnings=out_of_line_warnings(table),
        notes=tuple(notes),
    )


def _test_headings(table: Table) -> tuple[str, str]:
    """Headings of the interval and of p, which say how they are corrected."""
    assert table.verdicts is not None
    if table.verdicts.comparisons > 1:
        return "interval (Holm)", "p (Holm)"
    if corrected_for(table):
        return "interval (corrected)", "p (corrected)"
    return "95 % interval", "p"


def _verdict_cells(table: Table, verdict: Verdict) -> list[DisplayCell]:
    gap, spec = verdict.difference, table.spec
    return [
        *name_cells(verdict.row, verdict.variant, table.has_variants),
        DisplayCell(describe_verdict(verdict), verdict.outcome),
        DisplayCell(format_signed(gap.mean, spec)),
        DisplayCell(format_signed_interval(verdict.interval, spec)),
        DisplayCell(format_p(verdict.p_holm)),
        DisplayCell(format_seeds_to_decide(verdict) or NOTHING),
    ]


def classic_tables(table: Table) -> list[DisplayTable]:
    """The paired t tests, folded; none if they are those of the verdicts, or without any test."""
    verdicts = table.verdicts
    if verdicts is None or not verdicts.comparisons:
        return []
    if is_paired_t_test(table) and not corrected_for(table):
        return []
    columns = (
        *name_columns(table.has_variants),
        Column("verdict", "text"),
        Column("difference"),
        Column("95 % interval"),
        Column(_test_headings(table)[1]),
    )
    rows = []
    for verdict in verdicts.listed:
        gap, classic = verdict.difference, verdict.paired
        cells = (
            *name_cells(verdict.row, verdict.variant, table.has_variants),
            DisplayCell(classic.outcome, classic.outcome),
            DisplayCell(format_signed(gap.mean, table.spec)),
            DisplayCell(format_signed_interval(gap.interval, table.spec)),
            DisplayCell(format_p(classic.p_holm)),
        )
        rows.append(cells)
    note = f"p is corrected for {corrected_for(table)}, the 95 % interval is not."
    notes = (note,) if corrected_for(table) else ()
    return [DisplayTable(CLASSIC_TITLE, columns, tuple(rows), True, folded=True, notes=notes)]


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
        notes=(_rank_note(ranks),),
    )


def _rank_note(ranks: Ranks) -> str:
    """How the ranks were computed, and what they are worth."""
    text = (
        f"Average over {len(ranks.variants)} columns of the rank of the row's mean. 1 is best, "
        "ties share their rank, and rows of which every seed diverged share the last rank."
    )
    if ranks.seeds > 1:
        text += (
            f" 95 % interval: parametric bootstrap over the seeds ({RESAMPLES:,} draws of the "
            "means, with the spread of the verdicts), with fixed columns; it is too narrow where "
            "rows differ by less than half a standard deviation."
        )
    if len(ranks.variants) == 2:
        text += " Two columns are not enough to tell a pattern from a coincidence."
    if ranks.left_out:
        text += f" Not ranked, because a result is missing: {', '.join(ranks.left_out)}."
    return text
