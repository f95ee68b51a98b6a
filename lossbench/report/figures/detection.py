"""Detection of adversarial and other foreign inputs (Figs. 3-6 of the L-GM paper)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lossbench.analysis.predictions import Arrays, ReadArrays
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

Array = np.ndarray[Any, Any]
BINS = np.linspace(0, 1, 41)
NORMAL = "#C8C8C8"
HATCH = "/////"
"""Hatching of the other inputs, which distinguishes them without colours."""
LOWEST_LOG10 = -30.0
"""Smaller values are drawn as this one."""
LOWEST_FALSE_ACCEPT = 0.1
"""Lower end of the ROC curves' axis, in percent."""
MARKERS = "os^Dv*"
LINES = ("-", "--", "-.", ":")
PERCENT = 100.0


def detection_figures(
    stage: Stage,
    variant: str,
    rows: Iterable[Row],
    artifact: Artifact,
    colours: Mapping[str, Colour],
    read: ReadArrays,
) -> list[Drawing]:
    """Histograms of the posterior and of the likelihood, and the ROC curves."""
    stored = find_arrays(stage, variant, rows, artifact.name, read)
    found = [each for each in stored if artifact.eer_metric in each.result.metrics]
    if not found:
        return []
    seeds = ", ".join(sorted({str(detected.trial.seed) for detected in found}))
    of = f"One trial per row, seed {seeds}."
    name = f"{artifact.key}-{variant}"
    return [
        save_figure(
            _histograms(found, "posterior", artifact, colours),
            "detection",
            f"posterior-{name}",
            figure_title(f"Posterior of the predicted class: {artifact.title}", variant),
            f"Share of the inputs in each of 40 bins. {of}",
        ),
        save_figure(
            _histograms(found, "likelihood", artifact, colours),
            "detection",
            f"likelihood-{name}",
            figure_title(f"Likelihood of the predicted class: {artifact.title}", variant),
            "Share of the inputs in each of 40 bins. For losses that model a density: above the "
            "likelihood exp(-d) of the predicted class, below its logarithm -d / ln 10; values "
            "below 1e-30 are drawn at -30. For other losses: the affinity, scaled to [0, 1] over "
            f"both kinds of inputs. {of}",
        ),
        save_figure(
            _roc(found, artifact, colours),
            "detection",
            f"roc-{name}",
            figure_title(f"Separation of normal and other inputs: {artifact.title}", variant),
            "Inputs are accepted by a threshold on the likelihood. The horizontal axis is "
            f"logarithmic, from {LOWEST_FALSE_ACCEPT:g} %; markers on the grey line: equal error "
            f"rate (EER). {of}",
        ),
    ]


def log10_likelihood(arrays: Arrays) -> tuple[Array, Array] | None:
    """log10 of the likelihood of the normal and the other inputs; None without a density."""
    if "log10_likelihood_normal" in arrays:
        kept = [arrays[f"log10_likelihood_{which}"] for which in ("normal", "other")]
    else:  # a result from before they were stored
        likelihoods = [arrays[f"likelihood_{which}"] for which in ("normal", "other")]
        both = np.concatenate(likelihoods)
        scaled = both.min() == 0 and both.max() in (0, 1)  # affinities, scaled to [0, 1]
        if scaled or not np.isfinite(both).all():
            return None
        with np.errstate(divide="ignore"):
            kept = [np.log10(values) for values in likelihoods]
    normal, other = (np.maximum(values, LOWEST_LOG10) for values in kept)
    return normal, other


def _histograms(
    found: list[StoredArrays], quantity: str, artifact: Artifact, colours: Mapping[str, Colour]
) -> Figure:
    """One panel per row of the suite; below it the likelihood's logarithm, if there is one."""
    logs = [log10_likelihood(d.arrays) if quantity == "likelihood" else None for d in found]
    columns = min(len(found), 3)
    deep = 2 if any(logs) else 1
    lines = deep * math.ceil(len(found) / columns)
    width = FIGURE_WIDTH_IN * max(columns, 2) / 3
    figure = new_figure(0.6 + 2.1 * lines, width)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes in grid.ravel():
        axes.set_axis_off()
    for index, (detected, log10) in enumerate(zip(found, logs, strict=True)):
        line, column = index // columns * deep, index % columns
        colour = colours[detected.row.label]
        normal, other = (detected.arrays[f"{quantity}_{which}"] for which in ("normal", "other"))
        label = "largest posterior p_max"
        if quantity == "likelihood":
            label = "likelihood" if log10 else "affinity, scaled"
        _histogram(grid[line, column], normal, other, BINS, colour, label)
        grid[line, column].set_title(detected.row.label)
        if log10:
            lowest = min(-1.0, math.floor(min(values.min() for values in log10)))
            bins = np.linspace(lowest, 0, len(BINS))
            _histogram(grid[line + 1, column], *log10, bins, colour, "log10 of the likelihood")
    for line_of_axes in grid:
        for axes in [axes for axes in line_of_axes if axes.axison][:1]:
            axes.set_ylabel("% of inputs")
    figure.legend(
        handles=[
            Patch(facecolor=NORMAL, edgecolor="none", label="normal test images"),
            Patch(facecolor="none", edgecolor=INK, hatch=HATCH, label=artifact.title),
        ],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    return figure


def _histogram(
    axes: Axes, normal: Array, other: Array, bins: Array, colour: Colour, label: str
) -> None:
    """Normal inputs filled, other inputs hatched over them."""
    axes.set_axis_on()
    look: tuple[dict[str, Any], dict[str, Any]] = (
        {"facecolor": NORMAL, "edgecolor": "none"},
        {"facecolor": "none", "edgecolor": colour, "hatch": HATCH, "linewidth": 1.2},
    )
    for values, style in zip((normal, other), look, strict=True):
        finite = values[np.isfinite(values)]
        shares = PERCENT * np.histogram(finite, bins)[0] / max(len(finite), 1)
        axes.stairs(shares, bins, fill=True, **style)
    axes.set_xlim(bins[0], bins[-1])
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    axes.tick_params(labelleft=True)
    axes.set_xlabel(label)


def _roc(found: list[StoredArrays], artifact: Artifact, colours: Mapping[str, Colour]) -> Figure:
    figure = new_figure(4.2, 6.4)
    axes = figure.subplots()
    shares = np.geomspace(LOWEST_FALSE_ACCEPT, PERCENT, 200)
    axes.plot(shares, PERCENT - shares, color="#cccccc", linewidth=0.8, zorder=0)
    for index, detected in enumerate(found):
        eer = detected.result.metrics[artifact.eer_metric]
        colour = colours[detected.row.label]
        axes.plot(
            np.maximum(PERCENT * detected.arrays["false_accept"], LOWEST_FALSE_ACCEPT / 100),
            PERCENT * detected.arrays["true_accept"],
            LINES[index % len(LINES)],
            color=colour,
            linewidth=1.4,
            label=f"{detected.row.label}, EER {eer:.1f} %",
        )
        if eer >= LOWEST_FALSE_ACCEPT:
            axes.plot(
                eer, PERCENT - eer, MARKERS[index % len(MARKERS)], color=colour, clip_on=False
            )
    axes.set_xscale("log")
    axes.set_xlim(LOWEST_FALSE_ACCEPT, PERCENT)
    axes.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    axes.set_ylim(0, 101)
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    axes.set_xlabel(f"accepted of the others ({artifact.title}), %")
    axes.set_ylabel("accepted of the normal images, %")
    axes.legend(loc="lower right", frameon=False)
    return figure
