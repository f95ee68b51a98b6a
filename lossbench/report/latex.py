r"""Tables as LaTeX, for `\usepackage{booktabs}`: one per metric, and one with all metrics."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from lossbench.analysis.statistics import ALPHA
from lossbench.analysis.tables import Cell, Table
from lossbench.planning.rows import Row
from lossbench.report.combined_table import measured_by_variant, short_label
from lossbench.report.display import DisplayCell
from lossbench.report.escaping import latex_text, plain_sentence
from lossbench.report.latex_chosen import latex_chosen_table
from lossbench.report.latex_float import ColumnGroup, latex_float, protect_start
from lossbench.report.latex_names import LatexKeys, latex_entry_name, latex_row_name
from lossbench.report.metric_tables import value_cell, value_table
from lossbench.report.provenance import provenance_lines
from lossbench.report.value_text import describe_values
from lossbench.report.verdict_text import corrected_for, describe_margins, find_verdict

MAX_COLUMNS = 8
"""Maximum number of columns with values; a wider table is split by variant, then by metric."""
HEADING_WIDTH = 16
"""Number of characters after which a heading is broken."""
MARKS = {"better": r"$^{+}$", "worse": r"$^{-}$", "equivalent": r"$^{\approx}$"}
"""Outcome of a verdict -> mark after the value; undecided rows have none."""


def latex_tables(tables: Sequence[Table], command: str = "") -> str:
    """One table per metric, then with `tune` the chosen values, then all metrics on the test set.

    Args:
        tables: Tables of all metrics of a suite.
        command: Command of the user, for the comment.
    """
    keys = LatexKeys()
    floats = [_metric_table(table, keys, command) for table in tables]
    floats += latex_chosen_table(tables, keys, command)
    tested = [table for table in tables if not table.held_out]
    if len(tested) > 1:
        floats += _combined_tables(tested, keys, command)
    return "\n".join(floats)


def _metric_table(table: Table, keys: LatexKeys, command: str) -> str:
    shown = value_table(table)
    headings = [column.heading for column in shown.columns]
    rows = []
    for row, cells in zip(table.rows, shown.rows, strict=True):
        named = iter(cells[1:])
        line = [latex_row_name(row, table.found.plan.notation)]
        for variant in table.variants:
            line.append(_value(next(named), _outcome(table, variant, row)))
            if table.has_published(variant):
                line.append(_value(next(named), ""))
        rows.append(line)
    changes = f"; changed: {'; '.join(table.changes)}" if table.changes else ""
    title = f"{shown.title}{changes}"
    return latex_float(
        comments=[*provenance_lines(table.found, command), *map(plain_sentence, shown.notes)],
        needed="".join([title, *headings, *_texts(table.rows)]),
        caption=[f"{latex_text(title)}.", *_legend([table])],
        key=keys.key(table.suite, table.metric),
        groups=[ColumnGroup("", tuple(map(_broken, headings[1:])))],
        rows=rows,
    )


def _combined_tables(tables: Sequence[Table], keys: LatexKeys, command: str) -> list[str]:
    """All metrics in one table, or in several if that would have too many columns."""
    measured, suite = measured_by_variant(tables), tables[0].suite
    if sum(map(len, measured.values())) <= MAX_COLUMNS:
        return [_combined(measured, keys.key(suite), command)]
    floats = []
    for variant, own in measured.items():
        for part in _evenly(own, MAX_COLUMNS):
            key = keys.key(suite, *([variant] if tables[0].has_variants else []), between=":")
            floats.append(_combined({variant: part}, key, command))
    return floats


def _evenly(tables: Sequence[Table], largest: int) -> list[Sequence[Table]]:
    """Parts of nearly the same size in the order of the tables."""
    count = -(-len(tables) // largest)
    ends = [len(tables) * i // count for i in range(count + 1)]
    return [tables[start:end] for start, end in itertools.pairwise(ends)]


def _combined(measured: Mapping[str, Sequence[Table]], key: str, command: str) -> str:
    """The tables of each variant next to each other."""
    variants = list(measured)
    tables = list({table.metric: table for own in measured.values() for table in own}.values())
    first, several = tables[0], len(variants) > 1
    labels = {row for table in tables for variant, row in table.cells if variant in measured}
    listed = {row.label: row for table in tables for row in table.rows if row.label in labels}
    rows = list(listed.values())
    headings = [short_label(table) for table in tables]
    where = f", {variants[0]}" if first.has_variants and not several else ""
    changes = f"; changed: {'; '.join(first.changes)}" if first.changes else ""
    images = f"Results on {first.stage.images} images{where}"
    title = f"{images}; {describe_values(first)}{changes}"
    lines = []
    for row in rows:
        line = [latex_row_name(row, first.found.plan.notation)]
        for variant, own in measured.items():
            for table in own:
                cell = table.cells.get((variant, row.label))
                shown = value_cell(table, cell) if cell else DisplayCell()
                line.append(_value(shown, _outcome(table, variant, row)))
        lines.append(line)
    return latex_float(
        comments=provenance_lines(first.found, command),
        needed="".join([title, *headings, *variants, *_texts(rows)]),
        caption=[f"{latex_text(title)}.", *_legend(tables, variants)],
        key=key,
        groups=[
            ColumnGroup(
                latex_text(variant) if several else "", tuple(_broken(short_label(t)) for t in own)
            )
            for variant, own in measured.items()
        ],
        rows=lines,
    )


def _texts(rows: Iterable[Row]) -> Iterable[str]:
    return (row.label for row in rows)


def _broken(heading: str) -> str:
    """A heading, on several lines if it is long."""
    lines = textwrap.wrap(heading, HEADING_WIDTH, break_long_words=False, break_on_hyphens=False)
    if len(lines) < 2:
        return latex_text(heading)
    inner = r" \\ ".join(protect_start(latex_text(line)) for line in lines)
    return rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{inner}\end{{tabular}}"


def _outcome(table: Table, variant: str, row: Row) -> str:
    verdict = find_verdict(table, variant, row.label)
    return verdict.outcome if verdict else ""


def _value(cell: DisplayCell, outcome: str) -> str:
    text = latex_text(cell.text)
    if cell.strong:
        text = rf"\textbf{{{text}}}"
    if cell.chosen:
        text += r"\textsuperscript{*}"
    if outcome in MARKS:
        mark = MARKS[outcome]  # without width, so that the numbers stay aligned
        text += mark if cell.show_count or cell.detail else rf"\rlap{{{mark}}}"
    if cell.show_count:
        text += rf" {{\footnotesize ({latex_text(cell.count)})}}"
    if cell.detail:
        text += rf" {{\footnotesize ({latex_text(cell.detail)})}}"
    return text


def _legend(tables: Sequence[Table], variants: Sequence[str] | None = None) -> list[str]:
    """Sentences on the marks that the tables have, as LaTeX."""
    cells = [
        cell
        for table in tables
        for cell in table.cells.values()
        if variants is None or cell.variant in variants
    ]
    sentences = []
    if any(cell.chosen for cell in cells):
        sentences.append(r"\textsuperscript{*}: best mean of its loss in this column.")
    if any(cell.best for cell in cells):
        sentences.append("Bold: best mean of the column.")
    return [*sentences, *_mark_legend(tables, cells)]


def _mark_legend(tables: Sequence[Table], cells: Sequence[Cell]) -> list[str]:
    """Sentences on the marks of verdicts and their test; empty without a test."""
    judged = [table for table in tables if table.verdicts and table.verdicts.comparisons]
    found = {
        verdict.outcome
        for table in judged
        for cell in cells
        if (verdict := find_verdict(table, cell.variant, cell.row.label))
    }
    if not judged:
        return []
    reference, sentences = _reference_name(judged[0]), []
    test = rf"in a $t$ test of the differences at the same seed{_correction(judged)}"
    if found <= {"undecided", "none"}:
        return [rf"No row differs from {reference} with $p \leq {ALPHA:g}$ {test}."]
    if decided := [kind for kind in ("better", "worse") if kind in found]:
        marks = "/".join(MARKS[kind] for kind in decided)
        sentences.append(
            rf"{marks}: {'/'.join(decided)} than {reference}, $p \leq {ALPHA:g}$ {test}."
        )
    if "equivalent" in found:
        within = "the margin of the metric"
        if len(judged) == 1 and judged[0].verdicts:
            within = latex_text(f"± {describe_margins(judged[0], judged[0].verdicts)}")
        sentences.append(
            f"{MARKS['equivalent']}: equivalent to {reference}, the whole interval of the "
            f"difference is within {within}."
        )
    if "undecided" in found:
        sentences.append(f"No mark: {reference} itself, or undecided.")
    return sentences


def _correction(judged: Sequence[Table]) -> str:
    texts = list(dict.fromkeys(filter(None, map(corrected_for, judged))))
    if not texts:
        return ""
    each = " in each metric" if len(judged) > 1 else ""
    return latex_text(f", corrected for {' or '.join(texts)}{each}")


def _reference_name(table: Table) -> str:
    """Name of the reference row, or of its entry, as LaTeX."""
    assert table.verdicts is not None
    name, notation = table.verdicts.reference, table.found.plan.notation
    for row in table.rows:
        if row.label == name:
            return latex_row_name(row, notation)
    entries = (row for row in table.rows if row.entry == name)
    return next((latex_entry_name(row, notation) for row in entries), latex_text(name))
