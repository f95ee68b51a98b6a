"""Writes a report: tables as text, figures, and one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from lossbench.analysis.predictions import PredictionAnalysis, ReadArrays, analyze_predictions
from lossbench.analysis.tables import Table, make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.data_files import csv, json_lines, verdicts_json
from lossbench.report.display import DisplayTable
from lossbench.report.escaping import markdown_sentence, markdown_text
from lossbench.report.facts import FAIRNESS_TITLE, PROVENANCE_TITLE, Facts, gather_facts
from lossbench.report.figure_columns import (
    columns_with_figures,
    describe_columns_without_figures,
)
from lossbench.report.figures.build import draw_figures
from lossbench.report.figures.curves import learning_curves
from lossbench.report.figures.style import Drawing
from lossbench.report.formats import markdown
from lossbench.report.html import render_html
from lossbench.report.latex import latex_tables
from lossbench.report.markdown import markdown_lines
from lossbench.report.provenance import provenance
from lossbench.report.uncertainty_table import TITLE, uncertainty_table
from lossbench.report.value_text import counted_seeds
from lossbench.suite.atomic_files import write_atomically


def build_report(
    found: PlanWithResults,
    arrays: ReadArrays,
    output: Path,
    command: str,
    *,
    every_figure: bool = False,
    tables: Sequence[Table] | None = None,
    processes: int = 1,
) -> list[Path]:
    """Write `report.html`, `report.md`, `results.csv`, `results.json`, `verdicts.json`,
    `table.tex` and `figures/`.

    Each file is written whole or not at all, the page last.

    Args:
        found: Plan of the suite with its results; cells say which trials have none.
        arrays: (identity, name) -> the arrays that a trial stored by that name, or None.
            `embedding` has features (M, 2), labels (M,), class_means (K, 2) and for losses that
            model a density grid_x (G,), grid_y (G,), log_density (G, G) with row = y.
            `predictions` has labels (N,) and predicted (N,) of all test images.
        output: Folder; created if it does not exist.
        command: Command of the user, for the report's last section.
        every_figure: Whether to draw the figures of all columns, also if there are many.
        tables: Tables of the results, if they are already made.
        processes: Number of processes that draw; see `draw_figures`.

    Returns:
        Paths of all files, the page first.
    """
    plan, tables = found.plan, make_tables(found) if tables is None else tables
    columns = columns_with_figures(plan, every=every_figure)
    left_out = describe_columns_without_figures(plan, columns)
    curves = learning_curves(found, columns)
    with draw_figures(found, tables, curves, arrays, columns, processes) as finish_figures:
        facts = gather_facts(found, command)
        test_set = _test_set(found, arrays)
        uncertainty = uncertainty_table(test_set, plan.has_variants) if test_set else None
        texts = {
            "results.csv": csv(tables),
            "results.json": json_lines(tables),
            "verdicts.json": verdicts_json(plan.suite, tables, test_set, provenance(plan, output)),
            "table.tex": latex_tables(tables, command),
        }
        drawings = finish_figures()
    page_text = _markdown(plan, tables, uncertainty, drawings, left_out, facts)
    texts = {"report.md": page_text, **texts}
    contents = {output / name: text.encode() for name, text in texts.items()}
    for drawing in drawings:
        contents[output / "figures" / f"{drawing.name}.png"] = drawing.png
        contents[output / "figures" / f"{drawing.name}.svg"] = drawing.svg
    page = output / "report.html"
    html = render_html(plan, tables, uncertainty, drawings, curves, left_out, facts, texts)
    contents[page] = html.encode()
    for path, content in contents.items():
        write_atomically(path, content)
    return [page, *(path for path in contents if path != page)]


def _test_set(found: PlanWithResults, read: ReadArrays) -> PredictionAnalysis | None:
    """Analysis of the error only: a stored prediction is the best class of each image."""
    if all(metric.name != "error" for metric in found.plan.metrics):
        return None
    return analyze_predictions(found.test_stage, found.plan.suite.reference, read)


def _markdown(
    plan: Plan,
    tables: Sequence[Table],
    uncertainty: DisplayTable | None,
    drawings: Sequence[Drawing],
    left_out: str,
    facts: Facts,
) -> str:
    suite, text = plan.suite, markdown_text
    lines = [
        f"# {markdown_sentence(suite.title or suite.suite)}",
        "",
        f"Data set {text(facts.dataset)}; {counted_seeds(tables[0])}; {facts.progress}.",
        "",
        markdown(tables, _forest([d for d in drawings if d.kind == "forest"], left_out)),
    ]
    if uncertainty:
        lines += [f"## {TITLE}", "", *markdown_lines(uncertainty)]
    for drawing in drawings:
        if drawing.kind == "forest":
            continue
        lines += [
            f"## {text(drawing.title)}",
            "",
            _image(drawing),
            "",
            markdown_sentence(drawing.caption),
            "",
        ]
    lines += [f"## {FAIRNESS_TITLE}", "", markdown_sentence(facts.difference_summary), ""]
    lines += [
        f"- {'' if d.level == 'listed' else f'**{d.level}** '}{markdown_sentence(d.text)}"
        for d in facts.differences
    ]
    lines += ["", f"## {PROVENANCE_TITLE}", "", *_fenced(facts.command)]
    lines += [f"- Digest of the data set: {facts.data_digest}"]
    lines += [f"- Device: {text(name)} ({count} trials)" for name, count in facts.devices.items()]
    lines += [
        f"- Environment: {text(name)} ({count} trials)"
        for name, count in facts.environments.items()
    ]
    return "\n".join([*lines, "", *_fenced(facts.suite_yaml)])


def _forest(drawings: Sequence[Drawing], left_out: str) -> list[str]:
    """Pictures next to each other, with one caption, and the sentence on other columns."""
    lines = []
    if drawings:
        lines += [" ".join(map(_image, drawings)), "", markdown_sentence(drawings[0].caption), ""]
    return [*lines, markdown_sentence(left_out), ""] if left_out else lines


def _image(drawing: Drawing) -> str:
    return f"![{markdown_text(drawing.title)}](figures/{quote(drawing.name)}.png)"


def _fenced(code: str) -> list[str]:
    return ["", "````", code.rstrip("\n"), "````", ""]
