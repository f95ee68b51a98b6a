"""Held-out error over each tuned recipe key, with all losses in one panel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from lossbench.analysis.tables import Cell, Table
from lossbench.planning.tuning import short_names, tuned_spaces
from lossbench.report.figures.selection_points import (
    ABSENT,
    Scale,
    axis_label,
    scale_of,
    set_scale,
    why_absent,
)
from lossbench.report.figures.style import (
    INK,
    Colour,
    Drawing,
    figure_title,
    new_figure,
    save_figure,
)
from lossbench.suite.grammar import SearchRange

PANELS_PER_ROW = 2
LOG_FROM_RATIO = 10
"""Positive errors whose largest is more than this multiple of the smallest are on a log axis."""
RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 12,
    "markerfacecolor": "none",
    "markeredgewidth": 1.5,
    "linestyle": "none",
}


@dataclass(frozen=True)
class Look:
    """How the points of an entry are drawn.

    Attributes:
        colour: Colour of the entry.
        place: Number of the entry, from 0.
        higher_is_better: Whether higher values of the metric are better.
    """

    colour: Colour
    place: int
    higher_is_better: bool


def sensitivity_figure(table: Table, variant: str, colours: Mapping[str, Colour]) -> Drawing | None:
    """One panel per tuned key, in which a line per loss shows how its error depends on the key.

    A wide minimum means that a loss needs little tuning. If a loss has several points at a value,
    as in a grid of two keys, the line joins the best of them. If another key or parameter was
    searched together with this one, so that all values differ, points are not joined.

    Args:
        table: Table of the held-out part.
        variant: Name of the column.
        colours: Colour of each entry.

    Returns:
        None without tuned keys, or without a value.
    """
    suite = table.found.plan.suite
    cells = [cell for cell in table.cells.values() if cell.variant == variant]
    keys = [key for key in suite.tune if any(key in cell.row.varied for cell in cells)]
    means = [cell.summary.mean for cell in cells if cell.summary.mean is not None]
    if not keys or not means:
        return None
    across = min(len(keys), PANELS_PER_ROW)
    down = math.ceil(len(keys) / across)
    figure = new_figure(0.7 + 3.4 * down, 1.6 + (5.4 if across == 1 else 3.7 * across))
    panels = list(figure.subplots(down, across, sharey=True, squeeze=False).flat)
    spaces, names = tuned_spaces(suite), short_names(keys, [])
    entries = list(dict.fromkeys(cell.row.entry for cell in cells))
    for axes, key in zip(panels, keys, strict=False):
        space = spaces.get(key)
        on_log = isinstance(space, SearchRange) and space.log
        scale = scale_of([cell.row.tuned[key] for cell in cells], on_log)
        set_scale(axes, scale)
        for place, entry in enumerate(entries):
            own = [cell for cell in cells if cell.row.entry == entry]
            look = Look(colours[entry], place, table.higher_is_better)
            _draw_entry(axes, own, key, scale, look)
        axes.set_xlabel(names[key])
        axes.grid(axis="y", color="#e5e5e5")
        axes.set_axisbelow(True)
    if not table.higher_is_better and max(means) > LOG_FROM_RATIO * min(means) > 0:
        panels[0].set_yscale("log")
        panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panels[0].yaxis.set_major_formatter("{x:g}")
        panels[0].yaxis.set_minor_locator(NullLocator())
    for axes in panels[len(keys) :]:
        axes.set_visible(False)
    for line in range(0, len(panels), across):
        panels[line].set_ylabel(axis_label(table, "\n"))
    handles = list(_legend(cells, {entry: colours[entry] for entry in entries}))
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    title = figure_title(f"Sensitivity to {', '.join(names[key] for key in keys)}", variant)
    caption = _caption(table, cells, several=len(keys) > 1)
    return save_figure(figure, "selection", f"sensitivity-{variant}", title, caption)


def _draw_entry(
    axes: Axes,
    cells: Sequence[Cell],
    key: str,
    scale: Scale,
    look: Look,
) -> None:
    """Points of one entry, joined by a line if values repeat or only this key was varied."""
    by_place: dict[float, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: scale[cell.row.tuned[key]]):
        by_place.setdefault(scale[cell.row.tuned[key]], []).append(cell)
    joined = len(cells[0].row.varied) == 1 or 2 * len(by_place) <= len(cells)
    line = []
    for x, here in by_place.items():
        finished = [cell for cell in here if cell.summary.mean is not None]
        best = _best(finished, look.higher_is_better)
        line.append((x, math.nan if best is None else _mean(best)))
        for cell in finished:
            bar = not joined or cell is best
            std = cell.summary.std if bar else None
            size, alpha = (5, 1.0) if bar else (3, 0.45)
            face = look.colour if cell.summary.complete else "white"
            axes.errorbar(
                x,
                _mean(cell),
                std,
                fmt="o",
                color=look.colour,
                ms=size,
                mfc=face,
                alpha=alpha,
                capsize=2,
                zorder=3,
            )
            if cell.chosen:
                axes.plot([x], [_mean(cell)], markeredgecolor=look.colour, **RING)
        if not finished:  # at the upper edge, one entry below the other
            mark = {**ABSENT[why_absent(here[0])], "color": look.colour}
            top = axes.get_xaxis_transform()
            axes.plot([x], [0.97 - 0.045 * look.place], transform=top, clip_on=False, **mark)
    if joined:
        axes.plot(*zip(*line, strict=True), color=look.colour, linewidth=1.5)


def _best(cells: Sequence[Cell], higher_is_better: bool) -> Cell | None:
    """The cell with the best mean: among the complete ones as for the choice, else among all."""
    best = max if higher_is_better else min
    complete = [cell for cell in cells if cell.summary.complete]
    return best(complete or cells, key=_mean, default=None)


def _mean(cell: Cell) -> float:
    assert cell.summary.mean is not None
    return cell.summary.mean


def _legend(cells: Sequence[Cell], colours: Mapping[str, Colour]) -> Iterator[Line2D]:
    for entry, colour in colours.items():
        yield Line2D([], [], label=entry, color=colour, marker="o", markersize=5)
    if any(cell.chosen for cell in cells):
        yield Line2D([], [], label="chosen", markeredgecolor=INK, **RING)
    if any(cell.summary.n and not cell.summary.complete for cell in cells):
        hollow: dict[str, Any] = {**RING, "markersize": 5, "markerfacecolor": "white"}
        yield Line2D([], [], label="without some seeds", color=INK, **hollow)
    absent = {why_absent(cell) for cell in cells if cell.summary.mean is None}
    for why, look in ABSENT.items():
        if why in absent:
            yield Line2D([], [], label=why, **look)


def _caption(table: Table, cells: Sequence[Cell], *, several: bool) -> str:
    text = f"{axis_label(table)}: mean over the finished of {table.seeds} seeds, bars \u00b1 std"
    if several or any(len(cell.row.varied) > 1 for cell in cells):
        text += "; a line joins the best points at each value"
    return (
        f"{text}. The chosen points are circled. The wider the minimum of a line, the less tuning "
        "its loss needs."
    )
