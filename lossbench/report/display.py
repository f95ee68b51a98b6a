"""Tables as they are shown, before a format is chosen.

Markdown, LaTeX, the terminal and the page each render this one model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lossbench.analysis.number_format import NOTHING

Emphasis = Literal["", "best", "better", "worse", "equivalent", "undecided", "none"]
"""`best`: best of its column or line; the others are the outcomes of verdicts."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: Text of its head.
        kind: Numbers are aligned right, text left.
        published: Whether it has the numbers of a paper, which are shown less prominently.
        optional: Whether a narrow terminal may leave it out.
    """

    heading: str
    kind: Literal["number", "text"] = "number"
    published: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Views:
    """Contents of a cell that the reader of the page can choose in place of mean ± std.

    Attributes:
        interval: `95 % 1.12 to 1.22`; empty without one.
        seeds: Values of the single seeds; empty without any.
        verdict: Outcome and difference to the reference row.
        outcome: Outcome alone; empty without a verdict.
    """

    interval: str
    seeds: str
    verdict: str
    outcome: Emphasis = ""


@dataclass(frozen=True)
class DisplayCell:
    """Cell of a displayed table.

    Attributes:
        text: Value as text.
        emphasis: Reason for highlighting the cell; empty for an ordinary one.
        chosen: Whether the held-out part chose this cell.
        detail: What the value rests on, or a number to compare it with, in small print.
        count: Number of trials behind the value.
        incomplete: Whether planned trials are missing from the value.
        uneven: Whether other cells of the table have another number of seeds.
        views: Texts that the page can show instead of `text`.
        sort_key: Text by which the page sorts the cell, where that is not `text`.
    """

    text: str = NOTHING
    emphasis: Emphasis = ""
    chosen: bool = False
    detail: str = ""
    count: str = ""
    incomplete: bool = False
    uneven: bool = False
    views: Views | None = None
    sort_key: str | None = None

    @property
    def show_count(self) -> bool:
        """Whether formats whose title states the number of seeds show `count`, too."""
        return self.incomplete or self.uneven

    @property
    def strong(self) -> bool:
        """Whether the text is bold."""
        return self.emphasis in ("best", "better", "worse", "equivalent")


@dataclass(frozen=True)
class DisplayTable:
    """One table with the sentences around it.

    Attributes:
        title: Heading.
        columns: Columns; the first names the rows.
        rows: Cells of each row, one per column. Without rows only the sentences are shown.
        subordinate: Whether it belongs to the table before it.
        sortable: Whether the page's reader can sort it.
        folded: Whether the page and Markdown fold it under its title.
        legend: Meaning of the marks.
        findings: Sentences on what was chosen and on which images.
        warnings: Sentences on what a reader should be careful about.
        notes: Sentences on how the numbers were computed.
    """

    title: str
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[DisplayCell, ...], ...] = ()
    subordinate: bool = False
    sortable: bool = True
    folded: bool = False
    legend: str = ""
    findings: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def has_verdicts(self) -> bool:
        """Whether the page can show verdicts in place of the values."""
        cells = (cell for row in self.rows for cell in row)
        return any(cell.views is not None and cell.views.verdict for cell in cells)


def plain_cells(texts: Iterable[str]) -> list[DisplayCell]:
    """Cells without any emphasis."""
    return [DisplayCell(text) for text in texts]


def name_columns(has_variants: bool) -> list[Column]:
    """Columns that name a cell of the suite: its loss, and its variant where there are several."""
    names = ["loss", "variant"] if has_variants else ["loss"]
    return [Column(name, "text") for name in names]


def name_cells(row: str, variant: str, has_variants: bool) -> list[DisplayCell]:
    """Cells under `name_columns`."""
    return plain_cells([row, variant] if has_variants else [row])
