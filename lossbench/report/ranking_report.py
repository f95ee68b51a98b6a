"""A ranking of losses as a page, Markdown, CSV and JSON, and for the terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from lossbench.analysis.ranking import Pair, Ranking
from lossbench.analysis.tables import Cell
from lossbench.report.display import Column, DisplayCell, DisplayTable, plain_cells
from lossbench.report.escaping import markdown_text
from lossbench.report.figures.rank_chart import rank_chart
from lossbench.report.html import as_downloads, page_environment
from lossbench.report.markdown import markdown_lines
from lossbench.report.ranking_text import ranking_answer, ranking_notes, ranking_warnings
from lossbench.report.terminal import terminal_parts
from lossbench.report.value_text import format_count, format_value
from lossbench.report.verdict_text import format_p
from lossbench.suite.atomic_files import write_atomically


def write_ranking(
    ranking: Ranking, output: Path, command: str, made_from: Sequence[Mapping[str, Any]] = ()
) -> list[Path]:
    """Write `ranking.html`, `ranking.md`, `ranking.csv` and `ranking.json`, the page last.

    Args:
        ranking: Ranking to write.
        output: Folder; created if it does not exist.
        command: Command of the user.
        made_from: Records of the suites, see `provenance`.

    Returns:
        Paths of all files, the page first.
    """
    texts = {
        "ranking.csv": ranking_csv(ranking),
        "ranking.json": ranking_json(ranking, made_from),
        "ranking.md": ranking_markdown(ranking, command),
    }
    page = (
        page_environment()
        .get_template("ranking.html.jinja")
        .render(
            ranking=ranking,
            answer=ranking_answer(ranking),
            first=", ".join(ranking.first),
            warnings=list(ranking_warnings(ranking)),
            ranks=replace(rank_table(ranking), notes=tuple(ranking_notes(ranking))),
            pairs=pair_table(ranking),
            friedman=format_p(ranking.friedman),
            chart=rank_chart(ranking),
            command=command,
            downloads=as_downloads(texts),
        )
    )
    for name, text in texts.items():
        write_atomically(output / name, text.encode())
    write_atomically(output / "ranking.html", page.encode())
    return [output / "ranking.html", *(output / name for name in texts)]


def rank_table(ranking: Ranking) -> DisplayTable:
    """Average rank of every loss, with rank and value in each column."""
    rows = tuple(
        (
            DisplayCell(row.label),
            DisplayCell(f"{row.mean:.2f}"),
            *(_rank_cell(rank, cell) for rank, cell in zip(row.ranks, row.cells, strict=True)),
        )
        for row in ranking.listed
    )
    headings = ("average rank", *(column.label for column in ranking.columns))
    return DisplayTable("", (Column("loss", "text"), *map(Column, headings)), rows)


def _rank_cell(rank: float, cell: Cell) -> DisplayCell:
    return DisplayCell(
        f"{rank:g}",
        "best" if rank == 1 else "",
        detail=format_value(cell),
        count=format_count(cell.summary),
        incomplete=not cell.summary.complete,
    )


def pair_table(ranking: Ranking) -> DisplayTable:
    """Every pair of losses, the better ranked first."""
    rows = tuple(
        (
            *plain_cells(
                [pair.better, pair.other, str(pair.columns_better), str(pair.columns_worse)]
            ),
            *plain_cells([format_p(pair.p), format_p(pair.p_holm)]),
            DisplayCell("yes", "better") if pair.significant else DisplayCell("no"),
        )
        for pair in ranking.pairs
    )
    numbers = map(Column, ("columns better", "worse", "p", "p (Holm)"))
    columns = (Column("loss", "text"), Column("against", "text"), *numbers)
    return DisplayTable("", (*columns, Column("significant", "text")), rows)


def ranking_markdown(ranking: Ranking, command: str) -> str:
    text = markdown_text
    lines = [f"# Ranking of {len(ranking.listed)} losses", ""]
    lines += [f"**{text(', '.join(ranking.first))}**: {text(ranking_answer(ranking))}.", ""]
    lines += markdown_lines(rank_table(ranking))
    lines += [f"Friedman: p {format_p(ranking.friedman)}.", ""]
    warnings, notes = tuple(ranking_warnings(ranking)), tuple(ranking_notes(ranking))
    pairs = replace(pair_table(ranking), warnings=warnings, notes=notes)
    lines += markdown_lines(pairs)
    return "\n".join([*lines, "````", command, "````", ""])


def ranking_csv(ranking: Ranking) -> str:
    """Tidy: one line per loss and column."""
    buffer = io.StringIO()
    write = csv.writer(buffer, lineterminator="\n").writerow
    heads = ["loss", "params", "mean_rank", "suite", "variant", "metric", "rank", "mean", "std"]
    write([*heads, "n", "diverged", "changes"])
    for row in ranking.listed:
        for column, rank, cell in zip(ranking.columns, row.ranks, row.cells, strict=True):
            own, s = json.dumps(cell.row.loss.params, ensure_ascii=False), cell.summary
            place = [column.suite, column.variant, column.metric]
            values = [rank, s.mean, s.std, s.n, s.diverged, "; ".join(column.changes)]
            write([row.label, own, row.mean, *place, *values])
    return buffer.getvalue()


def ranking_json(ranking: Ranking, made_from: Sequence[Mapping[str, Any]] = ()) -> str:
    content = {
        "made_from": list(made_from),
        "columns": [
            {"suite": c.suite, "variant": c.variant, "metric": c.metric, "unit": c.unit}
            for c in ranking.columns
        ],
        "losses": [
            {
                "label": row.label,
                "loss": row.loss,
                "mean_rank": row.mean,
                "ranks": row.ranks,
                "params": [cell.row.loss.params for cell in row.cells],
                **(
                    {"tuned": [cell.row.tuned for cell in row.cells]}
                    if any(cell.row.tuned for cell in row.cells)
                    else {}
                ),
                "means": [cell.summary.mean for cell in row.cells],
            }
            for row in ranking.listed
        ],
        "friedman_p": ranking.friedman,
        "pairs": [_json_pair(pair) for pair in ranking.pairs],
        "columns_to_decide": ranking.columns_to_decide,
        "warnings": list(ranking_warnings(ranking)),
        "notes": list(ranking_notes(ranking)),
    }
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _json_pair(pair: Pair) -> dict[str, object]:
    return {
        "better": pair.better,
        "other": pair.other,
        "wins": pair.columns_better,
        "losses": pair.columns_worse,
        "p": pair.p,
        "p_holm": pair.p_holm,
        "apart": pair.significant,
    }


def terminal_ranking(ranking: Ranking) -> RenderableType:
    """For `rich.print`: average ranks, and the losses that each loss is better than."""
    rows = []
    for row in ranking.listed:
        beaten = [pair.other for pair in ranking.significant_pairs if pair.better == row.label]
        ranks = " ".join(f"{rank:g}" for rank in row.ranks)
        texts = [row.label, f"{row.mean:.2f}", ranks, ", ".join(beaten)]
        rows.append(tuple(plain_cells(texts)))
    columns = (
        Column("loss", "text"),
        Column("average rank"),
        Column("ranks", "text"),
        Column("better than (Holm)", "text"),
    )
    summary = DisplayTable(
        "",
        columns,
        tuple(rows),
        findings=(f"Friedman: p {format_p(ranking.friedman)}",),
        warnings=tuple(ranking_warnings(ranking)),
        notes=tuple(ranking_notes(ranking)),
    )
    listed = ", ".join(column.label for column in ranking.columns)
    return Group(Text(f"Ranks in: {listed}"), *terminal_parts(summary))
