"""The page of results, docs/results.md, from the archives in reports/.

Run it after archives are added or the code of the reports changes:

python docs/generator/results.py
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lossbench.analysis.number_format import format_number
from lossbench.analysis.reproduction import Reproduction
from lossbench.analysis.tables import Cell, Table, make_tables
from lossbench.archive.reading import Archive
from lossbench.archive.store import ArchiveStore
from lossbench.planning.selection import load_plan_with_results
from lossbench.report.answer import make_answers
from lossbench.report.reproduction_text import describe_reproduction, reproduction_notes
from lossbench.report.value_text import counted, format_value, label_with_unit
from lossbench.report.verdict_text import find_verdict

ROOT = Path(__file__).resolve().parents[2]
CAMPAIGN = ROOT / "reports" / "campaign"
PUBLISHED = ROOT / "reports" / "published"
PAGE = ROOT / "docs" / "results.md"
HEADLINE = ("table1", "100-D", "lgm(alpha=1)", "softmax")
"""Folder, column, row and reference row of the first sentence."""
BEGINNING = """\
# Results

{headline}

The tables below compare what was measured with the published numbers. This page is made from the
archives in `reports/campaign` and `reports/published` (`python docs/generator/results.py`);
`campaign/README.md` says how the trainings are run; the heading of a table says what was reduced.

*Gap* is the measured mean minus the published one, with its 95 % interval in parentheses.
*Reproduced*, *better*, *worse* and *undecided* compare with the paper
([what they mean](guide/reproduce-a-table.md#is-the-papers-number-reproduced)). ± is the standard
deviation over the seeds."""


def load_tables(folder: Path) -> tuple[Table, ...]:
    """The tables of a folder's archives, of the plan with the most trials; empty without archives.

    Archives of parts of a table may have plans of their parts while the table is being trained.
    """
    archives = [Archive(path) for path in sorted(folder.glob("*.zip"))]
    if not archives:
        return ()
    widest = max(archives, key=lambda archive: len(archive.plan.trials)).plan
    return make_tables(load_plan_with_results(widest, ArchiveStore(archives)))


def headline(tables: Sequence[Table]) -> str:
    """The first sentence: the comparison of two rows, or what is measured so far."""
    _, variant, row, reference = HEADLINE
    table = next((t for t in tables if t.metric == "error" and variant in t.variants), None)
    if table is None:
        return "Nothing of Table 1 is measured yet: no verdict."
    one, other = (table.cells[variant, label] for label in (row, reference))
    verdict = find_verdict(table, variant, row)
    if one.summary.missing or other.summary.missing or verdict is None:
        return _so_far(table, variant)
    assert one.published is not None
    assert other.published is not None
    paper = "better" if one.published.mean < other.published.mean else "worse"
    agreement = "as published" if verdict.outcome == paper else f"published: {paper}"
    return (
        f"On MNIST, L-GM with alpha 1 makes {format_value(one)} % errors, softmax "
        f"{format_value(other)} %: **{verdict.outcome}**, {agreement} "
        f"({_number(one)} and {_number(other)} %; {variant} features, "
        f"{counted(one.summary.n, 'seed')})."
    )


def _so_far(table: Table, variant: str) -> str:
    cells = [cell for cell in table.cells.values() if cell.variant == variant]
    planned = sum(cell.summary.planned for cell in cells)
    done = planned - sum(cell.summary.missing for cell in cells)
    measured = [
        f"{cell.row.label} {format_value(cell)} % (published {_number(cell)} %; "
        f"{counted(cell.summary.n, 'seed')})"
        for cell in cells
        if cell.summary.n
    ]
    return (
        f"Does L-GM make fewer errors on MNIST than softmax, as published? **No verdict yet**: "
        f"{done} of {planned} trainings of Table 1 with {variant} features are finished. Measured "
        f"so far: {', '.join(measured) or 'nothing'}."
    )


def _number(cell: Cell) -> str:
    return "–" if cell.published is None else format_number(cell.published.mean, cell.spec)


def section(folder: Path) -> Iterator[str]:
    """Heading, tables and missing trials of a folder of the campaign."""
    tables = load_tables(folder)
    if not tables:
        return
    found = tables[0].found
    yield f"## {found.plan.suite.title}"
    tested = [table for table in tables if not table.held_out]
    compared = [table for table in tested if table.reproductions]
    for table in compared:
        if any(cell.summary.n for cell in table.cells.values()):
            yield "\n".join(_compared(table))
    if compared:
        yield from reproduction_notes(compared[0])
    others = [table for table in tested if not table.reproductions]
    if any(cell.summary.n for table in others for cell in table.cells.values()):
        yield "\n".join(_others(others))
    if chosen := [cell for table in tables if table.held_out for cell in table.cells.values()]:
        yield _chosen(chosen)
    missing = [trial for trial in found.trials if not found.is_complete(trial)]
    if missing:
        named = [
            f"{trial.variant}/{trial.row}" if tables[0].has_variants else trial.row
            for trial in missing
        ]
        counts = [f"{name} ({named.count(name)})" for name in dict.fromkeys(named)]
        yield f"Missing: {len(missing)} of {len(found.trials)} trials, {', '.join(counts)}."
    yield f"Archives: `reports/campaign/{folder.name}`."


def _compared(table: Table) -> Iterator[str]:
    """A table with published numbers, as Markdown: a line per column and row."""
    column = ["column"] if table.has_variants else []
    heading = [*column, "loss", "measured", "seeds", "published", "verdict", "gap"]
    yield f"**{label_with_unit(table)}**\n"
    yield from _markdown(heading)
    for (variant, label), cell in table.cells.items():
        line = [variant] if table.has_variants else []
        line += [label, format_value(cell) if cell.summary.n else "–", _seeds(cell)]
        line += [_published(cell), *_verdict(table.reproductions.get((variant, label)), cell)]
        yield f"| {' | '.join(line)} |"


def _others(tables: Sequence[Table]) -> Iterator[str]:
    """Metrics without published numbers, as Markdown: a line per metric and column."""
    rows = dict.fromkeys(
        label for table in tables for (_, label), cell in table.cells.items() if cell.summary.n
    )
    seeds = {_seeds(table.cells[key]) for table in tables for key in table.cells if key[1] in rows}
    note = f"; {min(seeds)} seeds each" if len(seeds) == 1 else ""
    yield f"**Without published numbers{note}**\n"
    yield from _markdown(["metric", *rows])
    for table in tables:
        for variant in table.variants:
            cells = [table.cells.get((variant, label)) for label in rows]
            if any(cell and cell.summary.n for cell in cells):
                name = label_with_unit(table)
                values = ["–" if cell is None else _with_seeds(cell) for cell in cells]
                line = [f"{variant}: {name}" if table.has_variants else name, *values]
                yield f"| {' | '.join(line)} |"


def _chosen(cells: Sequence[Cell]) -> str:
    """What was chosen on the held-out part."""
    chosen = [f"{cell.row.label} ({format_value(cell)})" for cell in cells if cell.chosen]
    return f"Chosen on held-out images: {', '.join(chosen) or 'nothing yet'}."


def _markdown(heading: Sequence[str]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield f"|{' --- |' * len(heading)}"


def _with_seeds(cell: Cell) -> str:
    """A value, with its seeds if some are missing or diverged."""
    if not cell.summary.n:
        return "–"
    complete = cell.summary.n == cell.summary.planned
    return format_value(cell) + ("" if complete else f" ({_seeds(cell)} seeds)")


def _seeds(cell: Cell) -> str:
    diverged = f", {cell.summary.diverged} diverged" if cell.summary.diverged else ""
    return f"{cell.summary.n} of {cell.summary.planned}{diverged}"


def _published(cell: Cell) -> str:
    if cell.published is None:
        return "–"
    spread = cell.published.std
    return _number(cell) + (f" ± {format_number(spread, cell.spec)}" if spread is not None else "")


def _verdict(found: Reproduction | None, cell: Cell) -> tuple[str, str]:
    if found is None or found.gap is None:
        return "–", "–"
    text = describe_reproduction(found, cell.spec)
    if found.outcome == "none":
        return "no verdict", text
    return found.outcome, text.removeprefix(f"{found.outcome}, ")


def other_results() -> Iterator[str]:
    """The answers of the published reports."""
    yield "## Other results"
    for folder in sorted(path for path in PUBLISHED.iterdir() if path.is_dir()):
        tables = load_tables(folder)
        answers = make_answers(tables)
        title = tables[0].found.plan.suite.title
        lines = [f"- {answer.sentence}" for answer in answers.listed]
        yield f"{title} (`reports/published/{folder.name}`). {answers.metric}:"
        yield "\n".join(lines)


def page() -> str:
    """The whole page, as Markdown."""
    first = headline(load_tables(CAMPAIGN / HEADLINE[0]))
    parts = [BEGINNING.format(headline=first)]
    folders = [path for path in CAMPAIGN.iterdir() if path.is_dir()]
    for folder in sorted(folders, key=lambda path: (not path.name.startswith("table"), path.name)):
        parts += section(folder)
    return "\n\n".join([*parts, *other_results()]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
