"""What the tracking store shows of a table: numbers, verdicts, and a short description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lossbench.analysis.number_format import format_signed, format_signed_interval
from lossbench.analysis.tables import Cell, Table, make_tables
from lossbench.planning.selection import PlanWithResults
from lossbench.records import TableSummary
from lossbench.report.best_rows import find_best_rows
from lossbench.report.display import DisplayTable
from lossbench.report.escaping import markdown_text
from lossbench.report.facts import gather_facts
from lossbench.report.markdown import markdown_lines
from lossbench.report.metric_groups import group_tables
from lossbench.report.metric_tables import origin_lines, value_table
from lossbench.report.value_text import counted, format_value
from lossbench.report.verdict_text import (
    describe_verdict,
    find_verdict,
    format_p,
    verdict_and_difference,
)

_COLUMNS = (
    "metric",
    "variant",
    "row",
    "mean ± std",
    "n",
    "verdict",
    "difference",
    "95 % interval",
    "p (Holm)",
    "diverged",
    "mean",
    "std",
    "unit",
)


def summarize(found: PlanWithResults) -> TableSummary:
    """Summary of a table: every cell and metric, and in words the first metric."""
    tables = group_tables(make_tables(found)).tables
    shown = [table for table in tables if not table.held_out] or list(tables)
    answer = _answer(found, tables)
    table = markdown_lines(_plain(value_table(shown[0]))) if shown else []
    return TableSummary(
        description="\n".join([*answer, "", *table]),
        short_description="\n".join(answer),
        metrics=tuple(table.metric for table in shown),
        ascending=not shown or not shown[0].higher_is_better,
        values={key: value for table in tables for key, value in _values(table)},
        verdicts=_verdicts(shown[0]) if shown else {},
        columns=_COLUMNS,
        rows=tuple(_row(table, cell) for table in tables for cell in table.cells.values()),
    )


def _plain(table: DisplayTable) -> DisplayTable:
    """The table with mean ± std only, and counts where trials are missing."""
    rows = (
        tuple(replace(c, views=None, count=c.count if c.incomplete else "") for c in row)
        for row in table.rows
    )
    return replace(table, rows=tuple(rows), legend="", findings=())


def _answer(found: PlanWithResults, tables: Sequence[Table]) -> list[str]:
    """Lines of Markdown; MLflow shows only the first ones before a click."""
    suite, facts = found.plan.suite, gather_facts(found, "")
    lines = []
    for best in find_best_rows(tables):
        column = f"{markdown_text(best.variant)}: " if best.variant else ""
        lines.append(f"- {column}**{markdown_text(best.label)}** {markdown_text(best.text)}")
    title = markdown_text(suite.title or suite.suite)
    dataset = f"Data set {markdown_text(facts.dataset)}"
    made_from = f"{dataset}; {counted(len(suite.seeds), 'seed')}; {facts.progress}."
    return [*lines, "", f"{title}. {made_from}", *map(markdown_text, origin_lines(tables))]


def _cell_key(table: Table, variant: str, row: str) -> tuple[str, ...]:
    return (variant, row) if table.has_variants else (row,)


def _values(table: Table) -> Iterator[tuple[tuple[str, ...], float]]:
    for name in ("mean", "std", "n"):
        for cell in table.cells.values():
            value = getattr(cell.summary, name)
            if value is not None:
                *column, row = _cell_key(table, cell.variant, cell.row.label)
                yield (table.metric, *column, name, row), float(value)


def _verdicts(table: Table) -> Mapping[tuple[str, ...], str]:
    return {
        _cell_key(table, verdict.variant, verdict.row): verdict_and_difference(verdict, table.spec)
        for verdict in (table.verdicts.listed if table.verdicts else ())
    }


def _row(table: Table, cell: Cell) -> tuple[str | float | int | None, ...]:
    summary, verdict = cell.summary, find_verdict(table, cell.variant, cell.row.label)
    gap = verdict.difference if verdict else None
    return (
        table.metric,
        cell.variant,
        cell.row.label,
        format_value(cell),
        summary.n,
        describe_verdict(verdict) if verdict else "",
        format_signed(gap.mean, table.spec) if gap else "",
        format_signed_interval(gap.interval, table.spec) if gap else "",
        format_p(verdict.p_holm) if verdict else "",
        summary.diverged,
        summary.mean,
        summary.std,
        table.unit,
    )
