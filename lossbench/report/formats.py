"""Tables as text: Markdown, CSV, JSON, LaTeX, and a table for the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from lossbench.analysis.number_format import NOTHING, format_mean_std
from lossbench.analysis.published import Published
from lossbench.analysis.tables import Cell, Table, make_tables
from lossbench.planning.selection import PlanWithResults
from lossbench.report.latex_text import latex_text, unsupported
from lossbench.report.markup import markdown_sentence, markdown_text, pipes, plain_sentence
from lossbench.report.overview import Overview, make_overview
from lossbench.report.verdict_text import (
    markdown_verdicts,
    notes_once,
    terminal_verdicts,
    verdict_notes,
)


def render(found: PlanWithResults, format: str) -> str:
    """All tables of a suite as text.

    Args:
        found: Plan of the suite with its results.
        format: One of `FORMATS`.

    Raises:
        KeyError: The format is none of them.
    """
    return FORMATS[format](make_tables(found))


def markdown(tables: Iterable[Table]) -> str:
    """Pipe tables, each with its title, findings and warnings; many metrics in one table first."""
    listed = list(tables)
    overview = make_overview(listed)
    parts = [f"{markdown_text(line)}\n" for line in origin_lines(listed)]
    parts += [_markdown_overview(overview)] if overview else []
    notes = notes_once(listed)
    parts += [_markdown_table(table, own) for table, own in zip(listed, notes, strict=True)]
    return "\n".join(parts)


def origin_lines(tables: Sequence[Table]) -> list[str]:
    """Changes from the suite file, and stored seeds that the tables lack; a line each."""
    if not tables:
        return []
    return [f"{line}." for line in (tables[0].origin, tables[0].more_seeds) if line]


def _markdown_overview(overview: Overview) -> str:
    header = ["", *(markdown_text(row.label) for row in overview.rows)]
    lines = [f"**{markdown_text(overview.title)}**", "", pipes(header)]
    lines.append(pipes(["---", *("---:" for _ in overview.rows)]))
    for label, cells in overview.lines:
        values = []
        for cell in cells:
            value = NOTHING if cell is None else f"**{cell.value}**" if cell.best else cell.value
            published = f"<br>*{published_text(cell.published)}*" if cell and cell.published else ""
            values.append(value + published)
        lines.append(pipes([markdown_text(label), *values]))
    note = "In italics: published. " if overview.has_published else ""
    return "\n".join([*lines, "", f"{note}{overview.legend}", ""])


def _markdown_table(table: Table, notes: Sequence[str]) -> str:
    header, align = ["loss"], ["---"]
    for variant in table.variants:
        header.append(markdown_text(table.heading(variant)))
        align.append("---:")
        if table.has_published(variant):
            header.append("published")
            align.append("---:")
    lines = [f"**{markdown_text(table.title)}**", "", pipes(header), pipes(align)]
    for row in table.rows:
        line = [markdown_text(row.label)]
        for variant in table.variants:
            cell = table.cells.get((variant, row.label))
            line.append(_markdown_cell(cell))
            if table.has_published(variant):
                line.append(published_text(cell.published if cell else None))
        lines.append(pipes(line))
    lines.append("")
    if table.legend:
        lines += [table.legend, ""]
    for prefix, listed in (("", table.findings), ("Warning: ", table.notes)):
        if listed:
            lines += [*(f"- {prefix}{markdown_sentence(line)}" for line in listed), ""]
    return "\n".join([*lines, *markdown_verdicts(table, notes)])


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return NOTHING
    value = f"**{cell.value}**" if cell.best else cell.value
    interval = f"; {cell.interval}" if cell.interval else ""
    return f"{value} ({cell.count}{interval}){' ← chosen' if cell.chosen else ''}"


def published_text(number: Published | None) -> str:
    return format_mean_std(number.mean, number.std) if number else ""


def json_lines(tables: Iterable[Table]) -> str:
    """A JSON array with one object a cell and metric, one object a line."""
    objects = [
        {
            "suite": table.suite,
            "variant": cell.variant,
            "loss": cell.row.loss.name,
            "params": cell.row.loss.params,
            "metric": table.metric,
            "values": cell.summary.values,
            "mean": cell.summary.mean,
            "std": cell.summary.std,
            "n": cell.summary.n,
            "diverged": cell.summary.diverged,
            **({"changes": table.changes} if table.changes else {}),
        }
        for table in tables
        for cell in table.cells.values()
    ]
    lines = ",\n".join(json.dumps(o, allow_nan=False, ensure_ascii=False) for o in objects)
    return f"[\n{lines}\n]\n"


CSV_COLUMNS = [
    "suite",
    "variant",
    "row",
    "loss",
    "params",
    "metric",
    "mean",
    "std",
    "n",
    "diverged",
    "ci_low",
    "ci_high",
    "published_mean",
    "published_std",
    "values",
    "changes",
]


def csv(tables: Iterable[Table]) -> str:
    """Tidy: one line a cell and metric. `params` and `values` are JSON; intervals are 95 %.

    `changes` has the differences from the suite file, empty for none.
    """
    import pandas as pd  # half a second, which the other formats need not wait for

    records = [_csv_record(table, cell) for table in tables for cell in table.cells.values()]
    return pd.DataFrame(records, columns=CSV_COLUMNS).to_csv(index=False, lineterminator="\n")


def _csv_record(table: Table, cell: Cell) -> dict[str, Any]:
    summary, published = cell.summary, cell.published
    return {
        "suite": table.suite,
        "variant": cell.variant,
        "row": cell.row.label,
        "loss": cell.row.loss.name,
        "params": json.dumps(cell.row.loss.params, ensure_ascii=False),
        "metric": table.metric,
        "mean": summary.mean,
        "std": summary.std,
        "n": summary.n,
        "diverged": summary.diverged,
        "ci_low": summary.interval.low if summary.interval else None,
        "ci_high": summary.interval.high if summary.interval else None,
        "published_mean": published.mean if published else None,
        "published_std": published.std if published else None,
        "values": json.dumps(summary.values),
        "changes": "; ".join(table.changes),
    }


def latex(tables: Iterable[Table]) -> str:
    r"""Tables for `\usepackage{booktabs}`."""
    return "\n".join(_latex_table(table) for table in tables)


def _latex_table(table: Table) -> str:
    header, columns = ["loss"], "l"
    for variant in table.variants:
        header.append(latex_text(table.heading(variant)))
        columns += "r"
        if table.has_published(variant):
            header.append("published")
            columns += "r"
    caption = f"{table.title}{'; changed: ' if table.changes else ''}{'; '.join(table.changes)}"
    labels = [table.heading(variant) for variant in table.variants]
    missing = unsupported("".join([caption, *labels, *(row.label for row in table.rows)]))
    lines = [
        *(f"% {' '.join(line.split())}" for line in origin_lines([table])),
        r"% \usepackage{booktabs}",
    ]
    if missing:
        lines.append(
            r"% pdflatex cannot write all of this: use lualatex or xelatex with "
            rf"\usepackage{{fontspec}} and \setmainfont of a font that has {missing}"
        )
    lines += [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex_text(caption)}.}}",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        f"    {' & '.join(header)} \\\\",
        r"    \midrule",
    ]
    for row in table.rows:
        line = [latex_text(row.label)]
        for variant in table.variants:
            cell = table.cells.get((variant, row.label))
            line.append(_latex_cell(cell))
            if table.has_published(variant):
                line.append(latex_text(published_text(cell.published if cell else None)))
        lines.append(f"    {' & '.join(line)} \\\\")
    lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""]
    return "\n".join(lines)


def _latex_cell(cell: Cell | None) -> str:
    if cell is None:
        return latex_text(NOTHING)
    value = latex_text(cell.value)
    if cell.best:
        value = rf"\textbf{{{value}}}"
    if cell.chosen:
        value += r"\textsuperscript{*}"
    if not cell.summary.complete:  # a complete cell has the caption's n
        value += rf" {{\footnotesize ({latex_text(cell.count)})}}"
    return value


def terminal_table(found: PlanWithResults) -> RenderableType:
    """All tables of a suite for `rich.print`; many metrics in one."""
    tables = make_tables(found)
    overview = make_overview(tables)
    origin = [Text(line) for line in origin_lines(tables)]
    if overview is None:
        told = zip(tables, notes_once(tables), strict=True)
        return Group(*origin, *(part for table, notes in told for part in _rich(table, notes)))
    held_out = [table for table in tables if table.held_out]
    first = next(table for table in tables if table not in held_out)
    return Group(
        *origin,
        *(part for table in held_out for part in _rich(table, [])),
        *_rich_overview(overview),
        *_remarks(first),
        *_first_verdicts(tables, first),
    )


def _first_verdicts(tables: Sequence[Table], first: Table) -> list[RenderableType]:
    """Of many metrics those of the first only: the report has the others."""
    if first.verdicts is None:
        return []
    others = sum(table.verdicts is not None for table in tables) - 1
    metrics = "metric" if others == 1 else "metrics"
    more = Text(f"{first.label} only; the report has the other {others} {metrics}.", style="dim")
    return [*terminal_verdicts(first, verdict_notes(first)), more]


def _rich_overview(overview: Overview) -> list[RenderableType]:
    drawn = RichTable(header_style="bold")
    drawn.add_column("", overflow="fold")
    for row in overview.rows:
        drawn.add_column(escape(row.label), justify="right")
    for label, cells in overview.lines:
        line: list[RenderableType] = [Text(label)]
        for cell in cells:
            text = _rich_cell(cell)
            if cell and cell.published:
                text.append(f"\n{published_text(cell.published)}", style="dim not bold")
            line.append(text)
        drawn.add_row(*line)
    if overview.has_published:
        drawn.caption, drawn.caption_justify = "second lines: published", "left"
    return [Text(overview.title, style="bold"), drawn]


def _rich(table: Table, notes: Sequence[str]) -> list[RenderableType]:
    drawn = RichTable(header_style="bold")  # a title would wrap at the table's own width
    if any(cell.chosen for cell in table.cells.values()):
        drawn.caption = "✓ chosen: the best mean of its loss in this column"
        drawn.caption_justify = "left"
    drawn.add_column("loss", overflow="fold")
    for variant in table.variants:
        drawn.add_column(escape(table.heading(variant)), justify="right")
        if table.has_published(variant):
            drawn.add_column("published", justify="right", style="dim")
    for row in table.rows:
        line: list[RenderableType] = [Text(row.label)]
        for variant in table.variants:
            cell = table.cells.get((variant, row.label))
            line.append(_rich_cell(cell))
            if table.has_published(variant):
                line.append(Text(published_text(cell.published if cell else None)))
        drawn.add_row(*line)
    verdicts = terminal_verdicts(table, notes)
    return [Text(table.title, style="bold"), drawn, *_remarks(table), *verdicts]


def _remarks(table: Table) -> list[RenderableType]:
    findings = [Text(plain_sentence(line)) for line in table.findings]
    warnings = [Text(f"warning: {plain_sentence(note)}", style="yellow") for note in table.notes]
    return [*findings, *warnings]


def _rich_cell(cell: Cell | None) -> Text:
    if cell is None:
        return Text(NOTHING, style="dim")
    text = Text(cell.value, style="bold green" if cell.best else "")
    if not cell.summary.complete:  # a complete cell has the title's n
        text.append(f" ({cell.count})", style="yellow")
    if cell.chosen:
        text.append(" ✓", style="bold green")
    return text


FORMATS: dict[str, Callable[[Iterable[Table]], str]] = {
    "markdown": markdown,
    "csv": csv,
    "json": json_lines,
    "latex": latex,
}
"""What `lossbench report --format` takes."""
