"""Heat map of all columns, for tables with too many columns for a figure of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from lossbench.analysis.number_format import difference_unit
from lossbench.analysis.tables import Table
from lossbench.report.figures.forest import LOOKS
from lossbench.report.figures.style import (
    FIGURE_WIDTH_IN,
    INK,
    Drawing,
    new_figure,
    save_figure,
)
from lossbench.report.value_text import counted_seeds

LINE_IN, ROW_IN, AROUND_IN = 0.15, 0.6, 2.2
"""Height of a column of the table, which is a line here; width of a row; room for the names."""
BETTER, EQUAL, WORSE, NO_VALUE = LOOKS["better"].colour, "#f7f7f7", LOOKS["worse"].colour, "#d0d0d0"
SHOWN_SHARE = 0.98
"""Share of the differences within the range of the colours; single large ones would hide others."""
MAX_ROW_LENGTH = 8
"""Longer names of rows are drawn at an angle."""
TITLE = "All columns"
MARKED = ("better", "worse", "equivalent")


@dataclass(frozen=True)
class Differences:
    """Differences of all rows in all columns.

    Attributes:
        to: What the means are compared with: `softmax`, or `the best mean of the column`.
        variants: Names of the columns (C,).
        rows: Labels of the rows (R,).
        values: (C, R) mean difference; nan without one.
        outcomes: (C, R) outcome of the verdict; empty without one.
    """

    to: str
    variants: tuple[str, ...]
    rows: tuple[str, ...]
    values: NDArray[np.float64]
    outcomes: NDArray[np.str_]


def find_differences(table: Table) -> Differences | None:
    """Differences to the reference row, or without one to the best mean of each column.

    Returns:
        None for a metric that is not judged, or if there is no difference.
    """
    if not table.judged:
        return None
    listed = table.verdicts.listed if table.verdicts else ()
    compared = {verdict.row for verdict in listed}
    rows = [row.label for row in table.rows if not listed or row.label in compared]
    lines = {variant: line for line, variant in enumerate(table.variants)}
    places = {row: place for place, row in enumerate(rows)}
    shape = len(lines), len(places)
    values, outcomes = np.full(shape, np.nan), np.full(shape, "", dtype="<U10")
    for verdict in listed:
        at = lines[verdict.variant], places[verdict.row]
        outcomes[at] = verdict.outcome
        if verdict.difference.mean is not None:
            values[at] = verdict.difference.mean
    to = listed[0].reference if len({v.reference for v in listed}) == 1 else "the reference row"
    if not listed:
        for (variant, row), cell in table.cells.items():
            if cell.summary.mean is not None:
                values[lines[variant], places[row]] = cell.summary.mean
        best = np.fmax if table.higher_is_better else np.fmin
        values -= best.reduce(values, axis=1, keepdims=True)
        to = "the best mean of the column"
    if not np.isfinite(values).any():
        return None
    return Differences(to, table.variants, tuple(rows), values, outcomes)


def overview_figure(table: Table) -> Drawing | None:
    """One line per column and one cell per row: the difference as a colour, the verdict as a mark.

    Args:
        table: Table of the headline.

    Returns:
        None for a metric that is not judged, or if there is no difference.
    """
    found = find_differences(table)
    if found is None:
        return None
    long = max(map(len, found.rows)) > MAX_ROW_LENGTH
    lines, across = found.values.shape
    width = min(max(AROUND_IN + ROW_IN * across, 5.0), 2 * FIGURE_WIDTH_IN)
    figure = new_figure(AROUND_IN + LINE_IN * lines, width)
    axes = figure.subplots()
    sizes = np.abs(found.values[np.isfinite(found.values)])
    limit = float(np.quantile(sizes, SHOWN_SHARE)) or float(sizes.max()) or 1.0
    ends = (WORSE, EQUAL, BETTER) if table.higher_is_better else (BETTER, EQUAL, WORSE)
    mesh = axes.imshow(
        found.values,
        cmap=LinearSegmentedColormap.from_list("verdicts", ends, bad=NO_VALUE),
        vmin=-limit,
        vmax=limit,
        aspect="auto",
        interpolation="nearest",
    )
    handles = []
    for outcome in MARKED:
        at, rows = np.nonzero(found.outcomes == outcome)
        if len(at):
            handles += axes.plot(
                rows, at, LOOKS[outcome].marker, markersize=3, color=INK, label=outcome
            )
    axes.set_yticks(range(lines), found.variants, fontsize=7)
    axes.xaxis.tick_top()
    axes.set_xticks(
        range(across), found.rows, rotation=30 if long else 0, ha="left" if long else "center"
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    unit = difference_unit(table.unit)
    bar = figure.colorbar(mesh, ax=axes, location="bottom", extend="both", aspect=30, pad=0.01)
    bar.ax.set_box_aspect(0.03)
    bar.set_label(f"difference to {found.to}{f', {unit}' if unit else ''}")
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    caption = (
        f"{table.label}, mean over {counted_seeds(table)}: difference to {found.to}. Green is "
        "better, orange is worse; grey: no value. The ends of the colours also stand for the "
        f"{100 * (1 - SHOWN_SHARE):.0f} % of the cells with the largest differences."
    )
    if handles:
        caption += " Marks: cells with a verdict."
    return save_figure(figure, "overview", f"overview-{table.metric}", TITLE, caption)
