"""The margin of L-GM between two classes (Fig. 2 of the paper), from a trained model."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lossbench.report.figures.embeddings import class_colours, class_names
from lossbench.report.figures.stored_arrays import StoredArrays
from lossbench.report.figures.style import (
    FIGURE_WIDTH_IN,
    INK,
    Drawing,
    figure_title,
    new_figure,
    save_figure,
)

MARGIN = "#F3D9A4"


def geometry_figure(variant: str, panels: list[StoredArrays]) -> Drawing | None:
    """Two classes with the decision boundary at test time, and the margin required in training.

    With the distance d_k of Eq. 17 and the class score s_k = -d_k - 1/2 log|Lambda_k|, the
    decision boundary at test time is s_1 = s_2. In training, the score of a sample's own class z is
    s_z - alpha d_z, so the boundary of class z is s_z - alpha d_z = s_other. The margin lies
    between the boundaries of the two classes.

    d_k is computed from the class's log-density on the grid: d_k = (peak) - (value). The peak is
    that of the Gaussian, at the class mean.
    """
    panels = [panel for panel in panels if "class_log_density" in panel.arrays]
    if not panels:
        return None
    columns = min(len(panels), 3)
    size = FIGURE_WIDTH_IN / max(columns, 2)
    figure = new_figure(size * math.ceil(len(panels) / columns) + 0.5, size * columns)
    grid = figure.subplots(math.ceil(len(panels) / columns), columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid, panels, strict=False):
        _draw(axes, panel)
    figure.legend(
        handles=[
            Line2D([], [], color=INK, label="decision boundary at test time"),
            Line2D([], [], color=INK, linestyle="--", label="boundary of each class in training"),
            Patch(color=MARGIN, label="margin"),
        ],
        loc="outside lower center",
        ncols=3 if columns > 1 else 1,  # one panel is too narrow for all
        frameon=False,
    )
    points = max(len(panel.arrays["features"]) for panel in panels)
    caption = (
        f"Features of up to {points} training images of two classes; stars: class means, "
        f"{' and '.join(class_names(panels[0]))}. In training, a sample counts as correct only "
        "beyond the dashed line on its own side; without a margin (alpha = 0) the lines coincide. "
        "Each panel shows the first finished seed of its row."
    )
    return save_figure(
        figure,
        "geometry",
        f"geometry-{variant}",
        figure_title("Geometry of the margin between two classes", variant),
        caption,
    )


def _draw(axes: Axes, panel: StoredArrays) -> None:
    arrays = panel.arrays
    features, labels, means = arrays["features"], arrays["labels"], arrays["class_means"]
    x, y, scores = arrays["grid_x"], arrays["grid_y"], arrays["class_log_density"]
    alpha = float(panel.row.loss.params.get("alpha", 0.0))
    distances = scores_to_distances(scores, x, y, means)  # (2, G, G)
    gap = scores[0] - scores[1]  # (G, G), positive on the side of class 0 at test time
    boundaries = [gap - alpha * distances[0], gap + alpha * distances[1]]  # zero on the boundary
    if alpha > 0:
        inside = (boundaries[0] < 0) & (boundaries[1] > 0)
        axes.contourf(x, y, inside.astype(float), [0.5, 1.5], colors=[MARGIN], zorder=0)
        for line in boundaries:
            axes.contour(x, y, line, [0.0], colors=INK, linestyles="dashed", linewidths=1)
    axes.contour(x, y, gap, [0.0], colors=INK, linewidths=1.4)
    palette = class_colours(10)
    order = np.random.default_rng(0).permutation(len(labels))
    axes.scatter(
        features[order, 0],
        features[order, 1],
        s=3,
        c=np.asarray([palette[0], palette[1]])[labels[order]],
        linewidths=0,
        alpha=0.6,
        rasterized=True,
    )
    axes.scatter(means[:, 0], means[:, 1], marker="*", s=90, c="white", edgecolors=INK, zorder=5)
    middle = float(np.mean(means[:, 0]))
    for name, mean, colour in zip(class_names(panel), means, palette, strict=False):
        left = mean[0] < middle  # names are on the outside, clear of the boundaries
        axes.annotate(
            name,
            mean,
            xytext=(-12 if left else 12, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=11,
            weight="bold",
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": colour},
            zorder=6,
        )
    axes.set_xlim(float(x[0]), float(x[-1]))
    axes.set_ylim(float(y[0]), float(y[-1]))
    axes.set_aspect("equal")
    axes.set_title(panel.title)


def scores_to_distances(
    scores: np.ndarray, x: np.ndarray, y: np.ndarray, means: np.ndarray
) -> np.ndarray:
    """d_k on the grid (2, G, G), from log-densities (2, G, G) and class means (2, 2).

    A log-density is a quadratic function: log p = peak - d. The quadratic is fitted to the whole
    grid, and its constant is the peak.
    """
    columns, rows = np.meshgrid(x, y)
    distances = []
    for score, mean in zip(scores, means, strict=True):
        dx, dy = (columns - mean[0]).ravel(), (rows - mean[1]).ravel()
        terms = np.stack([np.ones_like(dx), dx * dx, dx * dy, dy * dy], 1).astype(np.float64)
        [peak, *_], *_ = np.linalg.lstsq(terms, score.ravel().astype(np.float64), rcond=None)
        distances.append(peak - score)
    return np.stack(distances)
