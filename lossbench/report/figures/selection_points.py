"""Held-out error against each parameter of a loss, on the parameter's own scale."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from lossbench.analysis.tables import Cell, Table
from lossbench.report.figures.style import INK, Colour, new_figure

LOG_FROM_RATIO = 100
"""Positive values that span more than this are drawn on a logarithmic axis."""
MAX_VALUE_TICKS = 7
"""With more distinct values, ticks are at round numbers instead of at the values."""
PANELS_PER_ROW = 3
CHOSEN: dict[str, Any] = {
    "marker": "o",
    "markersize": 13,
    "markerfacecolor": "none",
    "markeredgecolor": "#D55E00",
    "markeredgewidth": 2,
    "linestyle": "none",
}
STAR: dict[str, Any] = {
    "marker": "*",
    "markersize": 11,
    "markerfacecolor": "white",
    "markeredgecolor": INK,
    "linestyle": "none",
}
ABSENT: dict[str, dict[str, Any]] = {
    name: {"marker": marker, "color": INK, "linestyle": "none", "markersize": 6}
    for name, marker in (("stopped early", "x"), ("diverged", "^"), ("not run", "|"))
}
SEED: dict[str, Any] = {"marker": "o", "markersize": 3, "linestyle": "none", "alpha": 0.55}


@dataclass(frozen=True)
class Scale:
    """Places of a parameter's values on an axis.

    Attributes:
        kind: `linear`, `log`, or `category`: values that are not all numbers, side by side.
        places: Place on the axis for each value, by the value's text.
    """

    kind: str
    places: Mapping[str, float]

    def __getitem__(self, value: Any) -> float:
        return self.places[parameter_text(value)]


def scale_of(values: Sequence[Any], searched_on_log: bool) -> Scale:
    """The scale of a parameter.

    Values of 0 or less on a logarithmic axis are put to the left of all others, one step apart.

    Args:
        values: Values of the parameter.
        searched_on_log: Whether the suite searches it on a logarithmic scale.
    """
    if not all(map(_is_number, values)):
        return Scale("category", {text: float(i) for i, text in enumerate(distinct_values(values))})
    numbers = sorted(set(values))
    positive = [number for number in numbers if number > 0]
    others = [number for number in numbers if number <= 0]
    spread = positive[-1] / positive[0] if positive else 1.0
    logarithmic = searched_on_log or (spread > LOG_FROM_RATIO and len(others) <= 1)
    if not logarithmic or not positive:
        return Scale("linear", {parameter_text(number): float(number) for number in numbers})
    step = max(spread, 10.0) ** (1 / max(len(positive) - 1, 2))
    left = {
        parameter_text(n): positive[0] / step ** (i + 1) for i, n in enumerate(reversed(others))
    }
    return Scale("log", left | {parameter_text(number): float(number) for number in positive})


def draw_points(
    cells: Sequence[Cell],
    parameters: Sequence[str],
    table: Table,
    colours: Mapping[str, Colour],
    named: Collection[Cell],
    searched_on_log: Collection[str],
) -> Figure:
    """One panel for each parameter; each row is a point in every panel.

    Args:
        cells: Cells of the loss's rows.
        parameters: Parameters in which the rows differ.
        table: Table of the held-out part.
        colours: Colours by row label.
        named: Cells to compare with the chosen one.
        searched_on_log: Parameters that the suite searches on a logarithmic scale.
    """
    across = min(len(parameters), PANELS_PER_ROW)
    down = math.ceil(len(parameters) / across)
    figure = new_figure(0.5 + 3.2 * down, 1.6 + (4.8 if across == 1 else 3.2 * across))
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for axes, parameter in zip(panels, parameters, strict=False):
        scale = scale_of([c.row.varied[parameter] for c in cells], parameter in searched_on_log)
        set_scale(axes, scale)
        for cell in cells:
            _draw_cell(
                axes, cell, scale[cell.row.varied[parameter]], colours[cell.row.label], named
            )
        axes.set_xlabel(cells[0].row.varied_names[parameter])
        axes.grid(axis="y", color="#e5e5e5")
        axes.set_axisbelow(True)
    for axes in panels[len(parameters) :]:
        axes.set_visible(False)
    for line in grid:
        line[0].set_ylabel(axis_label(table, "\n"))
    handles = _legend(cells, named)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    return figure


def axis_label(table: Table, between: str = ", ") -> str:
    """Name of the metric, with its unit if it has one."""
    return between.join(filter(None, (table.label, table.unit)))


def set_scale(axes: Axes, scale: Scale) -> None:
    """Set limits and ticks of the horizontal axis."""
    places = list(scale.places.values())
    low, high = min(places), max(places)
    few = len(places) <= MAX_VALUE_TICKS or scale.kind == "category"
    if scale.kind == "log":
        axes.set_xscale("log")
        room = max(high / low, 10.0) ** 0.06
        axes.set_xlim(low / room, high * room)
    else:
        room = 0.06 * (high - low) or 0.5 * max(abs(low), 1.0)
        axes.set_xlim(low - room, high + room)
    axes.xaxis.set_minor_locator(NullLocator())
    if few:
        axes.xaxis.set_major_locator(FixedLocator(places))
        axes.set_xticks(places, list(scale.places))
    elif scale.kind == "log":
        off = [place for text, place in scale.places.items() if text != parameter_text(place)]
        inside = [t for t in LogLocator(subs=(1, 3)).tick_values(low, high) if low <= t <= high]
        ticks = [*off, *(tick for tick in inside if not off or tick > max(off))]
        names = {place: text for text, place in scale.places.items() if place in off}
        axes.set_xticks(ticks, [names.get(tick, f"{tick:g}") for tick in ticks])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(MAX_VALUE_TICKS, steps=[1, 2, 2.5, 5, 10]))
    if scale.kind == "category" and sum(map(len, scale.places)) > 30:
        axes.tick_params(axis="x", rotation=30)


def _draw_cell(axes: Axes, cell: Cell, x: float, colour: Colour, named: Collection[Cell]) -> None:
    summary = cell.summary
    if summary.mean is None:
        bottom: Any = axes.get_xaxis_transform()
        axes.plot([x], [0.03], transform=bottom, clip_on=False, **ABSENT[why_absent(cell)])
        return
    if summary.n > 1:
        aside = axes.transData + ScaledTranslation(5 / 72, 0, axes.figure.dpi_scale_trans)
        axes.plot([x] * summary.n, summary.values, color=colour, transform=aside, **SEED)
        axes.update_datalim([(x, value) for value in summary.values])
    axes.errorbar(x, summary.mean, yerr=summary.std, fmt="o", color=colour, markersize=6, capsize=3)
    if not summary.complete:
        axes.annotate(
            f"n={summary.n}", (x, summary.mean), (5, 4), textcoords="offset points", fontsize=7
        )
    if cell in named:
        axes.plot([x], [summary.mean], **STAR)
    if cell.chosen:
        axes.plot([x], [summary.mean], **CHOSEN)


def why_absent(cell: Cell) -> str:
    """Reason why a cell has no value."""
    summary = cell.summary
    if summary.diverged:
        return "diverged"
    return "stopped early" if summary.stopped else "not run"


def _legend(cells: Sequence[Cell], named: Collection[Cell]) -> list[Line2D]:
    handles = []
    if any(cell.chosen for cell in cells):
        handles.append(Line2D([], [], label="chosen", **CHOSEN))
    if named:
        handles.append(Line2D([], [], label="named for comparison", **STAR))
    if any(cell.summary.n > 1 for cell in cells):
        handles.append(Line2D([], [], label="one seed", color=INK, **SEED))
    without = {why_absent(cell) for cell in cells if cell.summary.mean is None}
    handles += [Line2D([], [], label=why, **look) for why, look in ABSENT.items() if why in without]
    return handles


def distinct_values(values: Sequence[Any]) -> list[str]:
    """Distinct values as text: first those that are not numbers, then numbers by size."""
    others = [value for value in values if not _is_number(value)]
    numbers = sorted(value for value in values if _is_number(value))
    return list(dict.fromkeys(map(parameter_text, [*others, *numbers])))


def parameter_text(value: Any) -> str:
    """`0.1`, `identity`."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
