r"""Frame of a LaTeX table: comments, caption, `\label`, and columns with common headings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lossbench.report.escaping import unsupported

SMALL_FROM = 4
"""Number of columns with values above which the table is set in a smaller size."""


@dataclass(frozen=True)
class ColumnGroup:
    """Columns under a common heading.

    Attributes:
        heading: LaTeX of the heading; empty without one.
        columns: LaTeX of the headings of its columns.
    """

    heading: str
    columns: tuple[str, ...]


def latex_float(
    comments: Iterable[str],
    needed: str,
    caption: Iterable[str],
    key: str,
    groups: Sequence[ColumnGroup],
    rows: Iterable[Sequence[str]],
) -> str:
    r"""A `table` environment with its comments.

    Args:
        comments: Lines before the table.
        needed: All text of the table; a comment warns about characters that pdflatex lacks.
        caption: Sentences of the caption, as LaTeX.
        key: Key for `\label`.
        groups: Columns after the first one, which names the rows.
        rows: Cells of each row, as LaTeX.
    """
    columns = [column for group in groups for column in group.columns]
    comments = [*comments, r"\usepackage{booktabs}"]
    if missing := unsupported(needed):
        comments.append(
            r"pdflatex cannot write all of this: use lualatex or xelatex with "
            rf"\usepackage{{fontspec}} and \setmainfont of a font that has {missing}"
        )
    lines = [f"% {' '.join(line.split())}" for line in comments]
    lines += [r"\begin{table}", r"\centering"]
    if len(columns) > SMALL_FROM:
        lines += [r"\small", r"\setlength{\tabcolsep}{4pt}"]
    lines += [
        rf"\caption{{{' '.join(caption)}}}",
        rf"\label{{{key}}}",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        *_group_headings(groups),
        _line(["loss", *columns]),
        r"\midrule",
        *map(_line, rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join([*lines, ""])


def _group_headings(groups: Sequence[ColumnGroup]) -> list[str]:
    if not any(group.heading for group in groups):
        return []
    cells, rules, first = [""], [], 2
    for group in groups:
        last = first + len(group.columns) - 1
        cells.append(rf"\multicolumn{{{len(group.columns)}}}{{c}}{{{group.heading}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{last}}}")
        first = last + 1
    return [_line(cells), " ".join(rules)]


def _line(cells: Iterable[str]) -> str:
    first, *others = cells
    return " & ".join([protect_start(first), *others]) + r" \\"


def protect_start(text: str) -> str:
    r"""Text after a line break, which would read `[` and `*` as its own arguments."""
    return f"{{{text[0]}}}{text[1:]}" if text[:1] in ("[", "*") else text
