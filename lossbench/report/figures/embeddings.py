"""Two-dimensional features and the likelihood of the modelled density (Fig. 1 of the paper)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lossbench.analysis.predictions import ReadArrays
from lossbench.planning.rows import Row
from lossbench.planning.selection import Stage
from lossbench.report.figures.fonts import can_draw
from lossbench.report.figures.stored_arrays import StoredArrays, find_arrays
from lossbench.report.figures.style import (
    FIGURE_WIDTH_IN,
    PNG_DPI,
    Drawing,
    figure_title,
    new_figure,
    save_figure,
)

MAX_NUMBERED_CLASSES = 20
MAX_MARK_LENGTH = 2
"""Characters that fit into the circle on a class mean."""
DECADES = 3.0
"""Range of the likelihood map's colours below the peak, in powers of ten."""
LIKELIHOOD_COLOURS = "magma"
ATTACKED = "#56E0FF"
NOT_EVALUATED = "#B8B8B8"
"""Colour of the area outside the grid of densities."""


def find_embeddings(
    stage: Stage, variant: str, rows: Iterable[Row], read: ReadArrays
) -> list[StoredArrays]:
    """Two-dimensional embeddings of the rows that stored one."""
    found = find_arrays(stage, variant, rows, "embedding", read)
    return [panel for panel in found if panel.arrays["features"].shape[1] == 2]


def embedding_figure(variant: str, panels: list[StoredArrays], images: str) -> Drawing | None:
    """One scatter plot per row, points coloured by class, class means marked.

    Args:
        variant: Name of the column.
        panels: Arrays of every row.
        images: Kind of the images that the error is measured on: `test`.
    """
    if not panels:
        return None
    num_classes = max(len(panel.arrays["class_means"]) for panel in panels)
    palette = class_colours(num_classes)
    figure, grid = _panel_grid(len(panels))
    for axes, panel in zip(grid, panels, strict=True):
        _scatter(axes, panel, palette)
    points = max(len(panel.arrays["features"]) for panel in panels)
    means = f"Circles: class means{_marked_by(panels[0], num_classes)}"
    caption = (
        f"Features of up to {points} training images, one colour per class. {means}. "
        f"{_seeds(panels)} Each panel has its own scale, the same for x and y. "
        f"Below each row: the error of the drawn trial, in % of the {images} images."
    )
    title = figure_title("Two-dimensional features", variant)
    return save_figure(figure, "embedding", f"embedding-{variant}", title, caption)


def likelihood_figure(variant: str, panels: list[StoredArrays], images: str) -> Drawing | None:
    """One heat map per row whose loss models the features' density (Fig. 1 f).

    Args:
        variant: Name of the column.
        panels: Arrays of every row.
        images: Kind of the images that the FGSM examples are made from: `test`.
    """
    panels = [panel for panel in panels if "log_density" in panel.arrays]
    if not panels:
        return None
    figure, grid = _panel_grid(len(panels), right_in=0.9)
    for axes, panel in zip(grid, panels, strict=True):
        _heat_map(axes, panel)
    scale = ScalarMappable(Normalize(-DECADES, 0), LIKELIHOOD_COLOURS)
    bar = figure.colorbar(scale, ax=list(grid), shrink=0.7, aspect=28, pad=0.015)
    ticks = np.arange(-DECADES, 1)
    bar.set_ticks(list(ticks), labels=[_power_of_ten(int(tick)) for tick in ticks])
    bar.set_label("p(x) relative to its peak")
    beyond = any(not _inside(panel, _finite_means(panel)).all() for panel in panels)
    outside = "; grey: outside the evaluated area" if beyond else ""
    caption = (
        f"Mixture density of the features with equal class priors, relative to its peak; "
        f"black: at most {10**-DECADES:g} of it{outside}. Circles: class means"
        f"{_marked_by(panels[0], len(panels[0].arrays['class_means']))}. {_seeds(panels)}"
    )
    attacked = [panel for panel in panels if "adversarial" in panel.arrays]
    if attacked:
        inside = [
            f"{panel.row.label} {_inside(panel, _attacked(panel)).sum()}" for panel in attacked
        ]
        caption += (
            f" Crosses: features of FGSM examples with epsilon "
            f"{float(attacked[0].arrays['epsilon']):g}, made for this figure from "
            f"{len(attacked[0].arrays['adversarial'])} {images} images of each row; those "
            f"inside the map are drawn: {', '.join(inside)}."
        )
    title = figure_title("Likelihood of the features", variant)
    return save_figure(figure, "likelihood", f"likelihood-{variant}", title, caption)


def class_colours(num_classes: int) -> list[tuple[float, float, float]]:
    """Ten distinct colours, or as many hues as there are classes."""
    if num_classes <= 10:
        return [to_rgb(colour) for colour in mpl.color_sequences["tab10"][:num_classes]]
    import seaborn as sns  # half a second, for the hues only

    return list(sns.husl_palette(num_classes))


def class_names(panel: StoredArrays) -> list[str]:
    """Names of the classes; their numbers if the trial stored no names."""
    numbers = range(len(panel.arrays["class_means"]))
    return [str(name) for name in panel.arrays.get("class_names", numbers)]


def _marks(panel: StoredArrays) -> list[str]:
    """Marks of the class means: names if all are short and can be drawn, else numbers."""
    names = class_names(panel)
    fits = all(len(name) <= MAX_MARK_LENGTH and can_draw(name) for name in names)
    return names if fits else [str(number) for number in range(len(names))]


def _marked_by(panel: StoredArrays, num_classes: int) -> str:
    """Meaning of the circles, for a caption."""
    if num_classes > MAX_NUMBERED_CLASSES:
        return ""
    if "class_names" not in panel.arrays:
        return " with the class's number"
    names, marks = class_names(panel), _marks(panel)
    if names == marks:
        return " with the class's name"
    return f" ({', '.join(f'{mark} {name}' for mark, name in zip(marks, names, strict=True))})"


def _panel_grid(count: int, right_in: float = 0.0) -> tuple[Figure, list[Axes]]:
    """Square panels with two lines of title each, and room to their right."""
    columns = min(count, 3) if count <= 9 else 4
    lines = math.ceil(count / columns)
    size_in = (FIGURE_WIDTH_IN - right_in) / max(columns, 2)
    figure = new_figure(lines * (size_in + 0.4), columns * size_in + right_in)
    figure.set_layout_engine("constrained", h_pad=0.08)
    cells = figure.subplots(lines, columns, squeeze=False).ravel()
    for unused in cells[count:]:
        unused.set_axis_off()
    return figure, list(cells[:count])


def _scatter(axes: Axes, panel: StoredArrays, palette: list[tuple[float, float, float]]) -> None:
    features, labels = panel.arrays["features"], panel.arrays["labels"]  # (M, 2), (M,)
    finite = np.flatnonzero(np.isfinite(features).all(axis=1))
    shuffled = np.random.default_rng(0).permutation(finite)  # no class covers the others
    axes.scatter(
        features[shuffled, 0],
        features[shuffled, 1],
        s=2.2,
        c=np.asarray(palette)[labels[shuffled]],
        linewidths=0,
        alpha=0.75,
        rasterized=True,
    )
    _mark_means(axes, panel, palette)
    _frame(axes, panel)


def _heat_map(axes: Axes, panel: StoredArrays) -> None:
    log_density = panel.arrays["log_density"]  # (G, G), row = y
    x, y = panel.arrays["grid_x"], panel.arrays["grid_y"]
    relative = (log_density - np.nanmax(log_density)) / math.log(10)
    axes.imshow(
        np.clip(np.nan_to_num(relative, nan=-DECADES), -DECADES, 0),
        origin="lower",
        extent=(float(x[0]), float(x[-1]), float(y[0]), float(y[-1])),
        cmap=LIKELIHOOD_COLOURS,
        vmin=-DECADES,
        vmax=0,
        interpolation="bilinear",
        rasterized=True,
    )
    axes.set_facecolor(NOT_EVALUATED)
    _mark_means(axes, panel, None)
    attacked = _attacked(panel)
    attacked = attacked[_inside(panel, attacked)]
    axes.scatter(
        attacked[:, 0], attacked[:, 1], marker="x", s=12, c=ATTACKED, linewidths=0.8, zorder=2
    )
    _frame(axes, panel)


def _attacked(panel: StoredArrays) -> NDArray[np.floating[Any]]:
    """Features (A, 2) of the adversarial examples; none if the trial stored none."""
    return panel.arrays.get("adversarial", np.empty((0, 2)))


def _finite_means(panel: StoredArrays) -> NDArray[np.floating[Any]]:
    means = panel.arrays["class_means"]  # (K, 2)
    return means[np.isfinite(means).all(axis=1)]


def _inside(panel: StoredArrays, points: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Whether each point (P, 2) is inside the map."""
    inside = np.ones(len(points), bool)
    for axis, grid in enumerate((panel.arrays["grid_x"], panel.arrays["grid_y"])):
        inside &= (points[:, axis] >= grid[0]) & (points[:, axis] <= grid[-1])
    return inside


def _mark_means(
    axes: Axes, panel: StoredArrays, palette: list[tuple[float, float, float]] | None
) -> None:
    """Mark the class means (K, 2); with few classes, by name or number."""
    means, marks = panel.arrays["class_means"], _marks(panel)
    numbered = len(means) <= MAX_NUMBERED_CLASSES
    finite = np.flatnonzero(np.isfinite(means).all(axis=1))
    axes.scatter(
        means[finite, 0],
        means[finite, 1],
        s=81 if numbered else 12,
        facecolors="white" if numbered else "none",
        edgecolors=[palette[k] for k in finite] if palette else "#222222",
        linewidths=1.3 if numbered else 0.8,
        alpha=0.95,
        zorder=3,
    )
    for k in finite if numbered else []:
        axes.annotate(
            marks[k],
            means[k],
            ha="center",
            va="center_baseline",
            fontsize=6,
            weight="bold",
            zorder=4,
        )


def _frame(axes: Axes, panel: StoredArrays) -> None:
    width_pt = axes.get_window_extent().width * 72 / PNG_DPI
    longest = max(map(len, panel.title.split("\n")))
    axes.set_title(panel.title, fontsize=min(8.5, width_pt / (0.7 * longest)))
    axes.set_box_aspect(1)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)


def _seeds(panels: list[StoredArrays]) -> str:
    seeds = sorted({panel.trial.seed for panel in panels})
    return f"Seed {', '.join(map(str, seeds))}: the first finished seed of each row."


def _power_of_ten(exponent: int) -> str:
    return "1" if exponent == 0 else f"{10.0**exponent:g}"
