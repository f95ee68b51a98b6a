"""Summary of a table for the tracking store: numbers, verdicts, and a short description."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from lossbench.analysis.tables import Table, make_tables
from lossbench.planning.selection import PlanWithResults
from lossbench.records import TableSummary
from lossbench.report.answer import make_answers
from lossbench.report.display import DisplayTable, name_columns
from lossbench.report.escaping import markdown_text
from lossbench.report.facts import gather_facts
from lossbench.report.markdown import markdown_answer, markdown_lines
from lossbench.report.metric_groups import group_tables
from lossbench.report.metric_tables import origin_lines, value_table, verdict_table
from lossbench.report.value_text import counted_seeds, format_value
from lossbench.report.verdict_text import verdict_and_difference


def summarize(found: PlanWithResults, tables: Sequence[Table] | None = None) -> TableSummary:
    """Summary of a table: every cell and metric, and in words the first metric.

    Args:
        found: Plan of the suite with its results.
        tables: Their tables, if they are already made.
    """
    tables = group_tables(make_tables(found) if tables is None else tables).tables
    shown = [table for table in tables if not table.held_out] or list(tables)
    answer, records = _answer(found, tables), list(_records(tables))
    table = markdown_lines(_plain(value_table(shown[0]))) if shown else []
    return TableSummary(
        description=_for_mlflow([*answer, "", *table]),
        short_description=_for_mlflow(answer),
        metrics=tuple(table.metric for table in shown),
        ascending=not shown or not shown[0].higher_is_better,
        values={key: value for table in tables for key, value in _values(table)},
        verdicts=_verdicts(shown[0]) if shown else {},
        columns=tuple(dict.fromkeys(heading for record in records for heading in record)),
        rows=tuple(tuple(record.values()) for record in records),
    )


def _plain(table: DisplayTable) -> DisplayTable:
    """The table with mean ± std only, and counts where they are not those of the title."""
    rows = (
        tuple(replace(c, views=None, count=c.count if c.show_count else "") for c in row)
        for row in table.rows
    )
    return replace(table, rows=tuple(rows), legend="", findings=())


def _answer(found: PlanWithResults, tables: Sequence[Table]) -> list[str]:
    """Lines of Markdown; MLflow shows only the first ones before a click."""
    suite, facts = found.plan.suite, gather_facts(found, "")
    lines = [markdown_answer(answer) for answer in make_answers(tables).listed]
    title = markdown_text(suite.title or suite.suite)
    dataset = f"Data set {markdown_text(facts.dataset)}"
    made_from = f"{dataset}; {counted_seeds(tables[0])}; {facts.progress}."
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


def _records(tables: Sequence[Table]) -> Iterator[dict[str, str | float | int | None]]:
    """Heading -> content, for each cell and metric, with the columns of the verdicts' table."""
    shown = [_verdict_texts(table) for table in tables]
    headings = dict.fromkeys(h for texts in shown for cell in texts.values() for h in cell)
    for table, texts in zip(tables, shown, strict=True):
        for (variant, row), cell in table.cells.items():
            compared = texts.get((variant, row), {})
            yield {
                "metric": table.metric,
                "variant": variant,
                "row": row,
                "mean ± std": format_value(cell),
                "n": cell.summary.n,
                **{heading: compared.get(heading, "") for heading in headings},
                "diverged": cell.summary.diverged,
                "mean": cell.summary.mean,
                "std": cell.summary.std,
                "unit": table.unit,
            }


def _verdict_texts(table: Table) -> dict[tuple[str, str], dict[str, str]]:
    """(variant, row) -> heading -> text in the table of verdicts."""
    shown, names = verdict_table(table, ()), len(name_columns(table.has_variants))
    headings = [column.heading for column in shown.columns[names:]]
    return {
        (verdict.variant, verdict.row): dict(
            zip(headings, (cell.text for cell in cells[names:]), strict=True)
        )
        for verdict, cells in zip(
            table.verdicts.listed if table.verdicts else (), shown.rows, strict=True
        )
    }


def _for_mlflow(lines: Iterable[str]) -> str:
    """Markdown as MLflow's page understands it, which shows the `\\` of `\\<`."""
    return "\n".join(lines).replace("\\<", "&lt;").replace("\\>", "&gt;")
