"""Reliability diagrams: accuracy against confidence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.axes import Axes

from lossbench.analysis.predictions import ReadArrays
from lossbench.planning.rows import Row
from lossbench.planning.selection import Stage
from lossbench.records import Artifact
from lossbench.report.figures.stored_arrays import StoredArrays, find_arrays
from lossbench.report.figures.style import (
    FIGURE_WIDTH_IN,
    INK,
    Colour,
    Drawing,
    figure_title,
    new_figure,
    save_figure,
)

COLUMNS = 4
"""Number of panels side by side."""
PERCENT = 100.0


def reliability_figure(
    stage: Stage,
    variant: str,
    rows: Iterable[Row],
    artifact: Artifact,
    colours: Mapping[str, Colour],
    read: ReadArrays,
) -> Drawing | None:
    """One panel per row: accuracy in each bin of the confidence, above the share of the images."""
    found = find_arrays(stage, variant, rows, artifact.name, read)
    if not found:
        return None
    lines = math.ceil(len(found) / COLUMNS)
    columns = math.ceil(len(found) / lines)
    width = FIGURE_WIDTH_IN * max(columns, 2) / COLUMNS
    figure = new_figure(3.3 * lines, width)
    grid = figure.subplots(
        2 * lines, columns, squeeze=False, sharex=True, height_ratios=[3, 1] * lines
    )
    for axes in grid.ravel():
        axes.set_axis_off()
    most = max(float((d.arrays["count"] / d.arrays["count"].sum()).max()) for d in found)
    for index, stored in enumerate(found):
        line, column = 2 * (index // columns), index % columns
        upper, lower = grid[line, column], grid[line + 1, column]
        _accuracy(upper, stored, artifact, colours[stored.row.label])
        _shares(lower, stored, colours[stored.row.label], PERCENT * most)
        if column == 0:
            upper.set_ylabel("accuracy, %")
            lower.set_ylabel("images, %")
    seeds = ", ".join(sorted({str(stored.trial.seed) for stored in found}))
    bins = len(found[0].arrays["count"])
    caption = (
        f"Images in {bins} bins of the confidence, the largest posterior. Bars: share of correct "
        "predictions in the bin; dots: at the mean confidence of the bin, on the dashed line if it "
        "is right, below it if it is too high. Below: share of the images. ECE: expected "
        f"calibration error. One trial per row, seed {seeds}."
    )
    return save_figure(
        figure,
        "calibration",
        f"{artifact.name}-{variant}",
        figure_title(f"Reliability of the {artifact.title}", variant),
        caption,
    )


def _accuracy(axes: Axes, stored: StoredArrays, artifact: Artifact, colour: Colour) -> None:
    count, confidence = stored.arrays["count"], stored.arrays["confidence"]
    accuracy, edges = PERCENT * stored.arrays["accuracy"], _edges(len(count))
    filled = count > 0
    axes.set_axis_on()
    axes.plot([0, 100], [0, 100], "--", color=INK, linewidth=0.9, zorder=3)
    axes.bar(
        edges[:-1][filled],
        accuracy[filled],
        width=edges[1],
        align="edge",
        color=(*colour, 0.35),
        edgecolor="white",
        linewidth=0.6,
    )
    axes.plot(
        PERCENT * confidence[filled],
        accuracy[filled],
        "o",
        color=colour,
        markersize=4,
        clip_on=False,
        zorder=4,
    )
    ece = [name for name in artifact.metrics if name in stored.result.metrics][:1]
    title = stored.row.label
    if ece:
        title += f"\nECE {stored.result.metrics[ece[0]]:.1f} %"
    axes.set_title(title)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100])
    axes.tick_params(labelbottom=False)


def _shares(axes: Axes, stored: StoredArrays, colour: Colour, most: float) -> None:
    count = stored.arrays["count"]
    edges = _edges(len(count))
    axes.set_axis_on()
    axes.stairs(PERCENT * count / count.sum(), edges, fill=True, color=colour)
    axes.set_xlim(0, 100)
    axes.set_xticks([0, 50, 100])
    axes.set_ylim(0, most)
    axes.set_xlabel("confidence, %")
    axes.tick_params(labelbottom=True)


def _edges(bins: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.linspace(0, PERCENT, bins + 1)
