"""One number per class, such as its error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lossbench.analysis.number_format import is_percentage
from lossbench.analysis.predictions import ReadArrays
from lossbench.planning.rows import Row
from lossbench.planning.selection import Stage
from lossbench.records import Artifact, Metric
from lossbench.report.figures.style import Colour, Drawing, figure_title, new_figure, save_figure

MAX_NAMED = 30
"""With more classes, they are sorted by their value and not named."""
MARKERS = "os^Dv*PX<>"
SPREAD = 0.7
"""Width over which the points of a class are spread, as a share of its room."""
MAX_NAME_LENGTH = 3
"""Longer names of classes are drawn at an angle."""
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ClassMeans:
    """Means over the seeds of one row.

    Attributes:
        row: Row of the suite.
        values: (C,) Mean of each class.
        names: (C,) Names or numbers of the classes.
        seeds: Number of seeds.
    """

    row: Row
    values: Array
    names: tuple[str, ...]
    seeds: int


def per_class_figure(
    stage: Stage,
    variant: str,
    rows: Iterable[Row],
    artifact: Artifact,
    metrics: Iterable[Metric],
    colours: Mapping[str, Colour],
    read: ReadArrays,
) -> Drawing | None:
    """The value of each class for each row, as means over the seeds."""
    found = [means for row in rows if (means := class_means(stage, variant, row, artifact, read))]
    if not found:
        return None
    classes = len(found[0].values)
    figure = new_figure(3.4, min(9.0, max(6.4, 0.9 * classes)))
    axes = figure.subplots()
    if classes <= MAX_NAMED:
        _named(axes, found, colours)
        order = ""
    else:
        _sorted(axes, found, colours)
        order = " For each row the classes are sorted by their value."
    unit = next((metric.unit for metric in metrics if metric.name in artifact.metrics), "")
    unit = "%" if is_percentage(unit) else unit
    axes.set_ylabel(f"{artifact.title}, {unit}" if unit else artifact.title)
    axes.set_ylim(bottom=min(0.0, *(float(means.values.min()) for means in found)))
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=min(len(found), 4), frameon=False)
    seeds = max(means.seeds for means in found)
    caption = f"Mean over up to {seeds} seeds, of {classes} classes.{order}"
    title = figure_title(artifact.title[:1].upper() + artifact.title[1:], variant)
    return save_figure(figure, "per_class", f"{artifact.name}-{variant}", title, caption)


def class_means(
    stage: Stage, variant: str, row: Row, artifact: Artifact, read: ReadArrays
) -> ClassMeans | None:
    """Mean of each class over the finished trials of a row; None without stored arrays."""
    arrays = [
        read(trial.identity, artifact.name) for trial, _ in stage.finished(variant, row.label)
    ]
    stored = [one for one in arrays if one is not None]
    if not stored:
        return None
    names = stored[0].get("class_names", stored[0]["labels"])
    values = np.mean([one["value"] for one in stored], axis=0)
    return ClassMeans(row, values, tuple(map(str, names)), len(stored))


def _named(axes: Axes, found: list[ClassMeans], colours: Mapping[str, Colour]) -> None:
    names = found[0].names
    for index, means in enumerate(found):
        shift = SPREAD * ((index + 0.5) / len(found) - 0.5)
        axes.plot(
            np.arange(len(names)) + shift,
            means.values,
            MARKERS[index % len(MARKERS)],
            color=colours[means.row.label],
            markersize=5,
            label=means.row.label,
            clip_on=False,
            zorder=3,
        )
    for border in range(1, len(names)):
        axes.axvline(border - 0.5, color="#eeeeee", linewidth=0.8, zorder=0)
    angled = max(map(len, names)) > MAX_NAME_LENGTH
    axes.set_xticks(
        range(len(names)), names, rotation=45 if angled else 0, ha="right" if angled else "center"
    )
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xlabel("class")


def _sorted(axes: Axes, found: list[ClassMeans], colours: Mapping[str, Colour]) -> None:
    for means in found:
        values = np.sort(means.values)
        places = np.arange(1, len(values) + 1)
        axes.plot(places, values, color=colours[means.row.label], label=means.row.label)
    axes.set_xlim(1, len(found[0].values))
    axes.set_xlabel("classes, sorted")
