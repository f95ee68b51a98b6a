"""A ranking as a page, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.colors import to_hex, to_rgb
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from lossbench.analysis.ranking import Ranking
from lossbench.report.figures.style import HUES, OTHER_HUES
from lossbench.report.html import as_downloads, page_environment
from lossbench.report.markup import markdown_text, pipes
from lossbench.report.verdict_text import p_text
from lossbench.suite.files import write_atomically

WIDTH, LINE_HEIGHT, LEFT, RIGHT = 640, 28, 190, 520
LETTERS_OF_A_LABEL = 24


def write_ranking(
    ranking: Ranking, output: Path, command: str, made_from: Sequence[Mapping[str, Any]] = ()
) -> list[Path]:
    """Write `ranking.html`, `ranking.md`, `ranking.csv` and `ranking.json`, the page last.

    Args:
        ranking: What to write.
        output: Folder; made if it is not there.
        command: What the user typed.
        made_from: Records of the suites, see `provenance`.

    Returns:
        Every file written, the page first.
    """
    texts = {
        "ranking.csv": ranking_csv(ranking),
        "ranking.json": ranking_json(ranking, made_from),
        "ranking.md": ranking_markdown(ranking, command),
    }
    environment = page_environment()
    environment.filters["p_text"] = p_text
    page = environment.get_template("ranking.html.jinja").render(
        ranking=ranking,
        figure=rank_figure(ranking),
        command=command,
        downloads=as_downloads(texts),
    )
    for name, text in texts.items():
        write_atomically(output / name, text.encode())
    write_atomically(output / "ranking.html", page.encode())
    return [output / "ranking.html", *(output / name for name in texts)]


def rank_figure(ranking: Ranking) -> Markup:
    """Average ranks; a bar joins losses of which no two are told apart."""
    rows = len(ranking.listed)
    height = LINE_HEIGHT * rows + 40

    def x(rank: float) -> float:
        return round(LEFT + (rank - 1) / max(rows - 1, 1) * (RIGHT - LEFT), 1)

    def y(place: float) -> float:
        return LINE_HEIGHT * (place + 0.5)

    drawn = Markup("")
    for rank in range(1, rows + 1):
        drawn += Markup(
            '<line class="axis" x1="{0}" x2="{0}" y1="0" y2="{1}"/>'
            '<text x="{0}" y="{2}" text-anchor="middle">{3}</text>'
        ).format(x(rank), LINE_HEIGHT * rows, LINE_HEIGHT * rows + 16, rank)
    names = list(dict.fromkeys(row.loss for row in ranking.listed))
    others = iter(OTHER_HUES * len(names))
    hues = {name: to_hex(to_rgb(HUES.get(name) or next(others))) for name in names}
    for place, row in enumerate(ranking.listed):
        drawn += Markup(
            '<g style="--c:{}"><text x="{}" y="{}" text-anchor="end">{}</text>'
            '<circle class="dot" cx="{}" cy="{}" r="6"/>'
            '<text x="{}" y="{}">{:.2f}</text></g>'
        ).format(
            hues[row.loss],
            LEFT - 14,
            y(place) + 4,
            _cut(row.label),
            x(row.mean),
            y(place),
            x(row.mean) + 11,
            y(place) + 4,
            row.mean,
        )
    for bar, (first, last) in enumerate(ranking.together):
        drawn += Markup('<line class="together" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
            RIGHT + 60 + 14 * (bar % 4), y(first) - 6, y(last) + 6
        )
    label = "average rank, 1 is best"
    return Markup(
        '<svg class="ranks" viewBox="0 0 {} {}" role="img" aria-label="{}: {}">{}'
        '<text x="{}" y="{}" text-anchor="middle">{}</text></svg>'
    ).format(
        WIDTH,
        height,
        label,
        ", ".join(f"{row.label} {row.mean:.2f}" for row in ranking.listed),
        drawn,
        (LEFT + RIGHT) / 2,
        height - 6,
        label,
    )


def _cut(label: str) -> str:
    return label if len(label) <= LETTERS_OF_A_LABEL else label[: LETTERS_OF_A_LABEL - 1] + "…"


def ranking_markdown(ranking: Ranking, command: str) -> str:
    text = markdown_text
    lines = [f"# Ranking of {len(ranking.listed)} losses", ""]
    lines += [f"**{text(ranking.first)}**: {text(ranking.answer)}.", ""]
    lines += [pipes(["loss", "average rank", *(text(c.label) for c in ranking.columns)])]
    lines += [pipes(["---", *("---:" for _ in range(1 + len(ranking.columns)))])]
    for row in ranking.listed:
        cells = [f"{rank:g} ({c.value})" for rank, c in zip(row.ranks, row.cells, strict=True)]
        lines.append(pipes([text(row.label), f"{row.mean:.2f}", *cells]))
    lines += ["", f"Friedman: p {p_text(ranking.friedman)}.", ""]
    lines += [pipes(["pair", "columns better / worse", "p", "p (Holm)", "told apart"])]
    lines += [pipes(["---", "---:", "---:", "---:", "---"])]
    for pair in ranking.pairs:
        names = text(f"{pair.better} against {pair.other}")
        told = "**yes**" if pair.apart else "no"
        values = [f"{pair.wins} / {pair.losses}", p_text(pair.p), p_text(pair.p_holm), told]
        lines.append(pipes([names, *values]))
    lines += ["", *(f"- Warning: {text(line)}" for line in ranking.warnings)]
    lines += ["", *(f"{text(line)}\n" for line in ranking.notes)]
    return "\n".join([*lines, "````", command, "````", ""])


def ranking_csv(ranking: Ranking) -> str:
    """Tidy: one line a loss and column."""
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
                "means": [cell.summary.mean for cell in row.cells],
            }
            for row in ranking.listed
        ],
        "friedman_p": ranking.friedman,
        "pairs": [{**vars(pair), "apart": pair.apart} for pair in ranking.pairs],
        "columns_to_decide": ranking.needed,
        "warnings": ranking.warnings,
        "notes": ranking.notes,
    }
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def terminal_ranking(ranking: Ranking) -> RenderableType:
    """For `rich.print`: average ranks, and what they mean."""
    drawn = RichTable(header_style="bold")
    drawn.add_column("loss", overflow="fold")
    for heading in ("average rank", "ranks", "better than (Holm)"):
        drawn.add_column(heading, justify="right" if heading == "average rank" else "left")
    for row in ranking.listed:
        beaten = [pair.other for pair in ranking.decided if pair.better == row.label]
        ranks = " ".join(f"{rank:g}" for rank in row.ranks)
        drawn.add_row(Text(row.label), f"{row.mean:.2f}", ranks, Text(", ".join(beaten)))
    columns = ", ".join(column.label for column in ranking.columns)
    return Group(
        Text(f"Ranks in: {columns}"),
        drawn,
        Text(f"Friedman: p {p_text(ranking.friedman)}"),
        *_lines(ranking.warnings, "warning: ", "yellow"),
        *_lines(ranking.notes, "", "dim"),
    )


def _lines(listed: Sequence[str], prefix: str, style: str) -> list[Text]:
    return [Text(prefix + line, style=style) for line in listed]
