"""LaTeX table of the values that a suite with `tune` chose for each loss."""

from __future__ import annotations

from collections.abc import Sequence

from lossbench.analysis.tables import Table
from lossbench.analysis.tuned_choices import tuned_choices
from lossbench.report.chosen_table import chosen_table
from lossbench.report.escaping import latex_text
from lossbench.report.latex_float import ColumnGroup, latex_float
from lossbench.report.latex_names import LatexKeys, latex_entry_name
from lossbench.report.provenance import provenance_lines


def latex_chosen_table(tables: Sequence[Table], keys: LatexKeys, command: str) -> list[str]:
    """The table, as in the other formats; empty without `tune` or a choice.

    Args:
        tables: Tables of all metrics of a suite.
        keys: Keys of the LaTeX tables so far.
        command: Command of the user, for the comment.
    """
    held_out = next((table for table in tables if table.held_out), None)
    tested = next((table for table in tables if not table.held_out), held_out)
    shown = chosen_table(tested, held_out) if tested else None
    if tested is None or shown is None:
        return []
    choices = tuned_choices(tested.found)
    notation = tested.found.plan.notation
    kept = [index for index, column in enumerate(shown.columns) if index and not column.optional]
    rows = [
        [latex_entry_name(choice.row, notation), *(latex_text(cells[index].text) for index in kept)]
        for choice, cells in zip(choices, shown.rows, strict=True)
    ]
    headings = [shown.columns[index].heading for index in kept]
    title = f"{shown.title}."
    texts = [cell.text for cells in shown.rows for cell in cells]
    return [
        latex_float(
            comments=provenance_lines(tested.found, command),
            needed="".join([title, *headings, *texts, *shown.notes]),
            caption=[latex_text(title), *map(latex_text, shown.notes)],
            key=keys.key(tested.suite, "chosen"),
            groups=[ColumnGroup("", tuple(map(latex_text, headings)))],
            rows=rows,
        )
    ]
