"""A metric over the numeric setting in which the columns differ, such as the label noise."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lossbench.analysis.tables import Cell, Table
from lossbench.planning.column_levels import ColumnLevels, column_levels
from lossbench.report.figures.detection import MARKERS
from lossbench.report.figures.selection_points import Scale, scale_of, set_scale
from lossbench.report.figures.style import INK, Colour, Drawing, new_figure, save_figure
from lossbench.report.metric_groups import group_tables

MIN_LEVELS = 3
"""Minimum number of columns; two are compared more easily in the table."""
LOG_FROM_RATIO = 10
"""Positive levels whose largest is at least this multiple of the smallest are on a log axis."""
DODGE = 0.24
"""Range of the horizontal shifts of the rows' points, as a share of the smallest distance between
levels."""
WIDTH_IN, HEIGHT_IN, LEGEND_LINE_IN = 5.2, 3.6, 0.2
"""Width, small enough for a phone; height without the legend; height of a line of the legend."""
MAX_LEGEND_LENGTH, MAX_LABEL_LENGTH = 78, 34
"""Maximum number of characters in a line of the legend, and of the label of the vertical axis."""


@dataclass(frozen=True)
class SettingText:
    """How a setting is shown.

    Attributes:
        name: Name in the title.
        axis: Label of the axis.
        factor: Factor of the numbers on the axis: 100 for shares in percent.
    """

    name: str
    axis: str
    factor: float = 1.0


SETTINGS = {
    "dataset.label_noise.symmetric": SettingText(
        "Label noise", "wrong training labels, % (symmetric)", 100.0
    ),
    "dataset.label_noise.asymmetric.rate": SettingText(
        "Label noise", "wrong labels of the mapped classes, % (asymmetric)", 100.0
    ),
    "dataset.imbalance.long_tail": SettingText(
        "Imbalance", "imbalance (long tail): largest / smallest class"
    ),
    "dataset.imbalance.step": SettingText("Imbalance", "imbalance (step): large / small classes"),
    "dataset.per_class": SettingText("Images per class", "training images per class"),
    "dataset.train_size": SettingText("Training images", "training images"),
}
"""Settings that are not named by their paths in the figure."""


@dataclass(frozen=True)
class LevelCurve:
    """A row of a table over the levels of the columns.

    Attributes:
        row: Label of the row.
        levels: Levels (L,), ascending; those at which the row has a cell.
        means: Mean over the finished seeds at each level; nan without one.
        stds: Standard deviation (n - 1) at each level; nan below two seeds.
        complete: Whether all seeds finished at each level.
    """

    row: str
    levels: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    complete: tuple[bool, ...]


def level_curves(table: Table, levels: ColumnLevels) -> list[LevelCurve]:
    """The curve of each row of a table."""
    curves = []
    for row in table.rows:
        cells: dict[float, Cell] = {
            level: table.cells[variant, row.label]
            for variant, level in levels.values.items()
            if (variant, row.label) in table.cells
        }
        summaries = [cell.summary for cell in cells.values()]
        curves.append(
            LevelCurve(
                row.label,
                tuple(cells),
                tuple(math.nan if s.mean is None else s.mean for s in summaries),
                tuple(math.nan if s.std is None else s.std for s in summaries),
                tuple(s.complete for s in summaries),
            )
        )
    return curves


def level_figures(tables: Sequence[Table], colours: Mapping[str, Colour]) -> Iterator[Drawing]:
    """One figure per metric of the headline: a line per row, over the levels of the columns.

    Figures of metrics with the same unit have the same vertical axis.

    Args:
        tables: Tables of a suite.
        colours: Colour of each row.
    """
    tested = [table for table in group_tables(tables).headline if not table.held_out]
    levels = column_levels(tested[0].found.plan) if tested else None
    if levels is None or len(levels.values) < MIN_LEVELS:
        return
    text = SETTINGS.get(levels.setting, SettingText(levels.setting, levels.setting))
    drawn = [(table, level_curves(table, levels)) for table in tested]
    for table, curves in drawn:
        same_unit = [own for other, own in drawn if other.unit == table.unit]
        limits = _limits([curve for own in same_unit for curve in own])
        if limits is not None and any(math.isfinite(m) for curve in curves for m in curve.means):
            yield _draw(table, curves, text, limits, colours)


def _draw(
    table: Table,
    curves: Sequence[LevelCurve],
    text: SettingText,
    limits: tuple[float, float],
    colours: Mapping[str, Colour],
) -> Drawing:
    values = sorted({text.factor * level for curve in curves for level in curve.levels})
    scale = scale_of(values, values[0] > 0 and values[-1] >= LOG_FROM_RATIO * values[0])
    handles = _legend(curves, colours)
    longest = max(len(str(handle.get_label())) for handle in handles)
    across = min(len(handles), max(MAX_LEGEND_LENGTH // (longest + 6), 1))
    figure = new_figure(HEIGHT_IN + LEGEND_LINE_IN * math.ceil(len(handles) / across), WIDTH_IN)
    axes = figure.subplots()
    set_scale(axes, scale)
    for index, curve in enumerate(curves):
        places = _places(curve, text.factor, scale, values, index, len(curves))
        _draw_curve(axes, curve, places, MARKERS[index % len(MARKERS)], colours[curve.row])
    axes.set_ylim(*limits)
    axes.set_xlabel(text.axis)
    axes.set_ylabel(
        "\n".join(filter(None, (*textwrap.wrap(table.label, MAX_LABEL_LENGTH), table.unit)))
    )
    axes.grid(axis="y", color="#e5e5e5")
    axes.set_axisbelow(True)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=across, frameon=False, fontsize=8,
        columnspacing=1.2,
    )  # fmt: skip
    title = f"{text.name}: {table.label[:1].lower()}{table.label[1:]}"
    return save_figure(figure, "levels", f"levels-{table.metric}", title, _caption(table, curves))


def _places(
    curve: LevelCurve, factor: float, scale: Scale, values: Sequence[float], index: int, rows: int
) -> list[float]:
    """Positions of a row's points on the horizontal axis, shifted so that rows do not overlap."""
    share = DODGE * (index / (rows - 1) - 0.5) if rows > 1 else 0.0
    ends = [scale[value] for value in values]
    own = [scale[factor * level] for level in curve.levels]
    if scale.kind == "log":
        gap = min(b / a for a, b in itertools.pairwise(ends))
        return [place * gap**share for place in own]
    gap = min(b - a for a, b in itertools.pairwise(ends))
    return [place + gap * share for place in own]


def _draw_curve(
    axes: Axes, curve: LevelCurve, places: Sequence[float], marker: str, colour: Colour
) -> None:
    axes.errorbar(
        places, curve.means, curve.stds, color=colour, linewidth=1.5, elinewidth=1, capsize=2.5
    )
    for x, mean, complete in zip(places, curve.means, curve.complete, strict=True):
        if math.isnan(mean):
            edge = axes.get_xaxis_transform()
            axes.plot(x, 0.97, "x", color=colour, transform=edge, clip_on=False)
        else:
            face = colour if complete else "white"
            axes.plot(x, mean, marker, color=colour, markersize=5.5, mfc=face, zorder=3)


def _limits(curves: Sequence[LevelCurve]) -> tuple[float, float] | None:
    """Limits of the vertical axis, with 0 unless all points are far from it."""
    ends = [
        mean + sign * (0.0 if math.isnan(std) else std)
        for curve in curves
        for mean, std in zip(curve.means, curve.stds, strict=True)
        if math.isfinite(mean)
        for sign in (-1, 1)
    ]
    if not ends:
        return None
    low, high = min(ends), max(ends)
    if 0 <= low < high / 2:
        low = 0.0
    room = 0.05 * (high - low) or 0.5 * max(abs(high), 1.0)
    return (low if low == 0 else low - room), high + room


def _legend(curves: Sequence[LevelCurve], colours: Mapping[str, Colour]) -> list[Line2D]:
    handles = [
        Line2D(
            [], [], label=curve.row, color=colours[curve.row], markersize=5.5,
            marker=MARKERS[index % len(MARKERS)],
        )
        for index, curve in enumerate(curves)
    ]  # fmt: skip
    look: dict[str, Any] = {"color": INK, "linestyle": "none"}
    points = [pair for c in curves for pair in zip(c.means, c.complete, strict=True)]
    if any(math.isfinite(mean) and not complete for mean, complete in points):
        handles.append(Line2D([], [], label="without some seeds", marker="o", mfc="white", **look))
    if any(math.isnan(mean) for mean, _ in points):
        handles.append(Line2D([], [], label="no finished seed", marker="x", **look))
    return handles


def _caption(table: Table, curves: Sequence[LevelCurve]) -> str:
    text = f"Mean over the finished of {table.seeds} seeds; bars: standard deviation (n-1)."
    if len(curves) > 1:
        text += " The rows' points are shifted sideways."
    return text
