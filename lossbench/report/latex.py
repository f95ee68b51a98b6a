"""Tables as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from lossbench.analysis.tables import Table
from lossbench.report.display import DisplayCell
from lossbench.report.escaping import latex_text, unsupported
from lossbench.report.metric_tables import origin_lines, value_table


def latex_tables(tables: Sequence[Table]) -> str:
    r"""Values of every metric, for `\usepackage{booktabs}`."""
    return "\n".join(map(_latex_table, tables))


def _latex_table(table: Table) -> str:
    import pandas as pd  # half a second, which the other formats need not wait for

    shown = value_table(table)
    caption = f"{shown.title}{'; changed: ' if table.changes else ''}{'; '.join(table.changes)}"
    headings = [column.heading for column in shown.columns]
    missing = unsupported("".join([caption, *headings, *(row.label for row in table.rows)]))
    comments = [*origin_lines([table]), r"\usepackage{booktabs}"]
    comments += shown.notes
    if missing:
        comments.append(
            r"pdflatex cannot write all of this: use lualatex or xelatex with "
            rf"\usepackage{{fontspec}} and \setmainfont of a font that has {missing}"
        )
    frame = pd.DataFrame(
        [list(map(_cell, row)) for row in shown.rows], columns=list(map(latex_text, headings))
    )
    tabular = frame.style.hide(axis="index").to_latex(
        column_format="".join("l" if c.kind == "text" else "r" for c in shown.columns),
        hrules=True,
        caption=f"{latex_text(caption)}.",
        position_float="centering",
    )
    return "".join(f"% {' '.join(line.split())}\n" for line in comments) + tabular


def _cell(cell: DisplayCell) -> str:
    text = latex_text(cell.text)
    if cell.strong:
        text = rf"\textbf{{{text}}}"
    if cell.chosen:
        text += r"\textsuperscript{*}"
    if cell.show_count:
        text += rf" {{\footnotesize ({latex_text(cell.count)})}}"
    if cell.detail:
        text += rf" {{\footnotesize ({latex_text(cell.detail)})}}"
    return text
