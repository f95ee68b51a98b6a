"""Held-out error over the grid of one entry of a suite."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from lossbench.analysis.number_format import format_number
from lossbench.analysis.tables import Cell, Table
from lossbench.report.figures.selection_points import (
    STAR,
    axis_label,
    distinct_values,
    draw_points,
    parameter_text,
)
from lossbench.report.figures.style import (
    INK,
    Colour,
    Drawing,
    figure_title,
    file_part,
    new_figure,
    save_figure,
    text_colour_on,
)

CHOSEN: dict[str, Any] = {"fill": False, "edgecolor": "#D55E00", "linewidth": 3}
EMPTY: dict[str, Any] = {"facecolor": "#f2f2f2", "edgecolor": "#c8c8c8", "hatch": "//"}
FULL = 0.5
"""Smallest share of filled cells with which a heat map is drawn."""


def selection_figure(
    table: Table,
    variant: str,
    entry: str,
    colours: Mapping[str, Colour],
    compared: Collection[str] = (),
    searched_on_log: Collection[str] = (),
) -> Drawing | None:
    """A heat map over a grid of two parameters; else points over each parameter.

    Args:
        table: Table of the held-out part.
        variant: Name of the column.
        entry: Entry of the suite; see `Row.entry`.
        colours: Colours by row label.
        compared: Labels of the rows that the suite names for comparison with the chosen ones.
        searched_on_log: Parameters that the suite searches on a logarithmic scale.

    Returns:
        None where the entry has one row, or none with a value.
    """
    labels = (row.label for row in table.rows if row.entry == entry)
    cells = [table.cells[variant, label] for label in labels if (variant, label) in table.cells]
    with_mean = [cell for cell in cells if cell.summary.mean is not None]
    if len(cells) < 2 or not with_mean:
        return None
    parameters = list(cells[0].row.varied)
    if len(parameters) == 1 and parameters[0] in cells[0].row.tuned:
        return None  # all losses are together in `sensitivity_figure`
    caption = f"{axis_label(table)}: mean over the finished of {table.seeds} seeds"
    named = [cell for cell in cells if cell.row.label in compared]
    pairs = math.prod(
        len(distinct_values([c.row.varied[key] for c in cells])) for key in parameters
    )
    if len(parameters) == 2 and len(cells) >= FULL * pairs:
        figure = _heat_map(cells, parameters, table, named)
        caption += " ± std; the chosen cell is outlined"
    else:
        figure = draw_points(cells, parameters, table, colours, named, searched_on_log)
        caption += ", bars ± std, small points the seeds; the chosen row is circled"
    caption += "; star: named by the suite for comparison." if named else "."
    title = figure_title(f"Selection of {entry}", variant)
    name = f"selection-{variant}-{file_part(entry)}"
    return save_figure(figure, "selection", name, title, caption)


def _heat_map(
    cells: list[Cell], parameters: list[str], table: Table, named: Collection[Cell]
) -> Figure:
    import pandas as pd  # a second for both, which most reports need not wait for
    import seaborn as sns

    down, across = parameters
    lines, columns = (
        distinct_values([cell.row.varied[key] for cell in cells]) for key in parameters
    )
    grid = pd.DataFrame(index=lines, columns=columns, dtype=float)
    numbers = pd.DataFrame("", index=lines, columns=columns)
    for cell in cells:
        place = parameter_text(cell.row.varied[down]), parameter_text(cell.row.varied[across])
        summary = cell.summary
        if summary.mean is not None:
            grid.loc[place] = summary.mean
            spread = "" if summary.std is None else f"\n±{format_number(summary.std, table.spec)}"
            numbers.loc[place] = format_number(summary.mean, table.spec) + spread
    figure = new_figure(1.5 + 0.6 * len(lines), 2.4 + 0.85 * len(columns))
    axes = figure.subplots()
    sns.heatmap(
        grid,
        annot=numbers,
        fmt="",
        cmap="crest_r",
        linewidths=1.5,
        cbar_kws={"label": axis_label(table, "\n")},
        ax=axes,
    )
    names = cells[0].row.varied_names
    axes.set(xlabel=names[across], ylabel=names[down])
    _write_readably(axes)
    handles: list[Patch | Line2D] = []
    for cell in cells:
        x = columns.index(parameter_text(cell.row.varied[across]))
        y = lines.index(parameter_text(cell.row.varied[down]))
        _mark_absent(axes, cell, x, y)
        if cell.chosen:
            axes.add_patch(Rectangle((x, y), 1, 1, clip_on=False, **CHOSEN))
            handles.append(Patch(label="chosen", **CHOSEN))
        if cell in named:
            axes.plot([x + 0.87], [y + 0.24], **STAR)
    if named:
        handles.append(Line2D([], [], label="named for comparison", **STAR))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    axes.tick_params(length=0, rotation=0)
    return figure


def _mark_absent(axes: Axes, cell: Cell, x: int, y: int) -> None:
    """Write how many trials diverged or were not run; hatch the cell if it has no value."""
    summary = cell.summary
    if summary.complete:
        return
    whole = summary.mean is None
    if whole:
        axes.add_patch(Rectangle((x + 0.02, y + 0.02), 0.96, 0.96, linewidth=0, **EMPTY))
    counts = {
        "diverged": summary.diverged,
        "stopped": summary.stopped,
        "not run": summary.missing,
    }
    counts_text = [f"{n} of {summary.planned} {what}" for what, n in counts.items() if n]
    if summary.planned == 1:
        counts_text = [what for what, n in counts.items() if n]
    place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "color": INK}
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    axes.text(x + 0.5, y + (0.5 if whole else 0.82), "\n".join(counts_text), bbox=box, **place)


def _write_readably(axes: Axes) -> None:
    """Make each number black or white, whichever contrasts more with its cell."""
    [mesh] = axes.collections
    values: Any = np.ma.asarray(mesh.get_array()).ravel()
    shown = np.asarray(mesh.get_facecolor())[~np.ma.getmaskarray(values)]  # as seaborn writes them
    for text, colour in zip(axes.texts, shown, strict=True):
        text.set_color(text_colour_on(tuple(colour[:3])))
