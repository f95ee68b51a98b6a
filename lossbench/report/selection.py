"""Held-out error over the grid of one loss."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from lossbench.report.style import INK, Colour, Drawing, finish, new_figure, readable_on, titled
from lossbench.report.tables import Cell, Table

CHOSEN: dict[str, Any] = {"fill": False, "edgecolor": "#D55E00", "linewidth": 3}
EMPTY: dict[str, Any] = {"facecolor": "#f2f2f2", "edgecolor": "#c8c8c8", "hatch": "//"}
STAR: dict[str, Any] = {
    "marker": "*",
    "markersize": 11,
    "markerfacecolor": "white",
    "markeredgecolor": INK,
    "linestyle": "none",
}


def selection_figure(
    table: Table,
    variant: str,
    loss: str,
    colours: Mapping[str, Colour],
    compared: Collection[str] = (),
) -> Drawing | None:
    """A heat map over two grid parameters; for any other number of them, points.

    Args:
        table: Of the held-out part.
        variant: The column.
        loss: Name of the loss.
        colours: By row label.
        compared: Labels of the rows that the suite names to compare with the chosen ones.

    Returns:
        None where the loss has one row, or none with a value.
    """
    cells = [table.cells[variant, row.label] for row in table.rows if row.loss.name == loss]
    with_mean = [cell for cell in cells if cell.summary.mean is not None]
    if len(cells) < 2 or not with_mean:
        return None
    parameters = list(cells[0].row.varied)
    caption = f"{_axis_label(table)}: mean over the finished of {table.seeds} seeds"
    named = [cell for cell in cells if cell.row.label in compared]
    if len(parameters) == 2:
        figure = _heat_map(cells, parameters, table, named)
        caption += "; the chosen cell is outlined"
    else:
        figure = _points(cells, parameters, table, colours, named)
        caption += ", bars ± std; the chosen point is filled"
    caption += "; star: named by the suite for comparison." if named else "."
    title = titled(f"Selection of {loss}", variant)
    return finish(figure, "selection", f"selection-{variant}-{loss}", title, caption)


def _heat_map(
    cells: list[Cell], parameters: list[str], table: Table, named: Collection[Cell]
) -> Figure:
    down, across = parameters
    lines, columns = _order(cells, down), _order(cells, across)
    grid = pd.DataFrame(index=lines, columns=columns, dtype=float)
    for cell in cells:
        place = _short(cell.row.varied[down]), _short(cell.row.varied[across])
        grid.loc[place] = np.nan if cell.summary.mean is None else cell.summary.mean
    figure = new_figure(1.5 + 0.5 * len(lines), 2.4 + 0.85 * len(columns))
    axes = figure.subplots()
    sns.heatmap(
        grid,
        annot=True,
        fmt=table.spec,
        cmap="crest_r",
        linewidths=1.5,
        cbar_kws={"label": _axis_label(table)},
        ax=axes,
    )
    axes.set(xlabel=across, ylabel=down)
    _write_readably(axes)
    handles: list[Patch | Line2D] = []
    for cell in cells:
        x = columns.index(_short(cell.row.varied[across]))
        y = lines.index(_short(cell.row.varied[down]))
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


def _axis_label(table: Table) -> str:
    return f"{table.label}, {table.unit}" if table.unit else table.label


def _mark_absent(axes: Axes, cell: Cell, x: int, y: int) -> None:
    """Say of a cell how many of its trials diverged or were not run; hatched if it has no value."""
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
    told = [f"{n} of {summary.planned} {what}" for what, n in counts.items() if n]
    if summary.planned == 1:
        told = [what for what, n in counts.items() if n]
    place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "color": INK}
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    axes.text(x + 0.5, y + (0.5 if whole else 0.82), "\n".join(told), bbox=box, **place)


def _write_readably(axes: Axes) -> None:
    """Black or white numbers, whichever stands out from the cell; cells without one stay blank."""
    [mesh] = axes.collections
    values: Any = np.ma.asarray(mesh.get_array()).ravel()
    shown = np.asarray(mesh.get_facecolor())[~np.ma.getmaskarray(values)]  # as seaborn writes them
    for text, colour in zip(axes.texts, shown, strict=True):
        text.set_color(readable_on(tuple(colour[:3])))


def _points(
    cells: list[Cell],
    parameters: list[str],
    table: Table,
    colours: Mapping[str, Colour],
    named: Collection[Cell],
) -> Figure:
    labels = [_point_label(cell, parameters) for cell in cells]
    figure = new_figure(0.9 + 0.3 * len(cells), 6.0)
    axes = figure.subplots()
    for y, cell in enumerate(cells):
        if cell.summary.mean is None:
            continue
        colour = colours[cell.row.label]
        axes.errorbar(
            cell.summary.mean,
            y,
            xerr=cell.summary.std,
            fmt="*" if cell in named else "o",
            color=colour,
            markerfacecolor=colour if cell.chosen else "white",
            markersize=11 if cell in named else 7,
            capsize=3,
        )
    axes.set_yticks(range(len(cells)), labels)
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.set_ylabel(parameters[0] if len(parameters) == 1 else "")
    axes.set_xlabel(_axis_label(table))
    axes.grid(axis="x", color="#e5e5e5")
    axes.set_axisbelow(True)
    return figure


def _point_label(cell: Cell, parameters: list[str]) -> str:
    values = cell.row.varied
    if len(parameters) == 1:
        return _short(values[parameters[0]])
    return ", ".join(f"{key}={_short(values[key])}" for key in parameters)


def _order(cells: list[Cell], parameter: str) -> list[str]:
    """The values of a grid parameter as text: numbers by size, others as the suite has them."""
    values = [cell.row.varied[parameter] for cell in cells]
    if all(isinstance(value, int | float) for value in values):
        values.sort()
    return list(dict.fromkeys(map(_short, values)))


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
