"""Whether adversarial or foreign inputs are noticed (Figs. 3-6 of the L-GM paper)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lossbench.analysis.predictions import Arrays, ReadArrays
from lossbench.planning.rows import Row
from lossbench.planning.selection import Stage
from lossbench.planning.trial import Trial
from lossbench.records import Artifact, Metric, TrialResult
from lossbench.report.figures.style import (
    FIGURE_WIDTH_IN,
    INK,
    Colour,
    Drawing,
    finish,
    new_figure,
    titled,
)

Array = np.ndarray[Any, Any]
BINS = np.linspace(0, 1, 41)
NORMAL = "#C8C8C8"
HATCH = "/////"
"""Of the other inputs, so that they can be told from the normal ones without colours."""
LOWEST_LOG10 = -30.0
"""Smaller likelihoods are drawn as this one."""
LOWEST_FALSE_ACCEPT = 0.1
"""Where the axis of the ROC curves begins, in percent."""
DODGE = 0.16
"""How far the rows' points spread sideways, as a share of the distance of two sizes."""
MARKERS = "os^Dv*"
LINES = ("-", "--", "-.", ":")
PERCENT = 100.0


@dataclass(frozen=True)
class Detected:
    """What one row's first finished seed stored."""

    row: Row
    trial: Trial
    result: TrialResult
    arrays: Arrays

    @property
    def log10_likelihood(self) -> tuple[Array, Array] | None:
        """Of the normal and the other inputs; None for a loss that models no density."""
        if "log10_likelihood_normal" in self.arrays:
            kept = [self.arrays[f"log10_likelihood_{which}"] for which in ("normal", "other")]
        else:  # a result of before they were stored
            shown = [self.arrays[f"likelihood_{which}"] for which in ("normal", "other")]
            together = np.concatenate(shown)
            scaled = together.min() == 0 and together.max() in (0, 1)  # affinities, to both ends
            if scaled or not np.isfinite(together).all():
                return None
            with np.errstate(divide="ignore"):
                kept = [np.log10(values) for values in shown]
        normal, other = (np.maximum(values, LOWEST_LOG10) for values in kept)
        return normal, other


def detection_figures(
    stage: Stage,
    variant: str,
    rows: Iterable[Row],
    artifact: Artifact,
    colours: Mapping[str, Colour],
    read: ReadArrays,
) -> list[Drawing]:
    """Histograms of the posterior and of the likelihood, and the ROC curves."""
    found = []
    for row in rows:
        for trial, result in stage.finished(variant, row.label)[:1]:
            arrays = read(trial.identity, artifact.name)
            if arrays is not None:
                found.append(Detected(row, trial, result, arrays))
    if not found:
        return []
    seeds = ", ".join(sorted({str(detected.trial.seed) for detected in found}))
    of = f"One trial a row, seed {seeds}."
    name = f"{artifact.key}-{variant}"
    return [
        finish(
            _histograms(found, "posterior", artifact, colours),
            "detection",
            f"posterior-{name}",
            titled(f"Posterior of the predicted class: {artifact.title}", variant),
            f"Share of the inputs in each of 40 bins. {of}",
        ),
        finish(
            _histograms(found, "likelihood", artifact, colours),
            "detection",
            f"likelihood-{name}",
            titled(f"Likelihood of the predicted class: {artifact.title}", variant),
            "Share of the inputs in each of 40 bins. The likelihood is exp(-d), d of the predicted "
            "class, for losses that model a density: as such above, and below its logarithm, "
            "-d / ln 10, each on an axis of its own; what is under 1e-30 stands at -30. For the "
            f"others it is the affinity, scaled to [0, 1] over both kinds. {of}",
        ),
        finish(
            _roc(found, artifact, colours),
            "detection",
            f"roc-{name}",
            titled(f"Telling normal inputs from others: {artifact.title}", variant),
            "Accepted by a threshold on the likelihood. The horizontal axis is logarithmic, from "
            f"{LOWEST_FALSE_ACCEPT:g} % on; markers on the grey line: equal error rate (EER). {of}",
        ),
    ]


def _histograms(
    found: list[Detected], quantity: str, artifact: Artifact, colours: Mapping[str, Colour]
) -> Figure:
    """A panel a row of the suite; below it the likelihood's logarithm, where there is one."""
    logs = [d.log10_likelihood if quantity == "likelihood" else None for d in found]
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
    """Normal inputs filled, the others hatched over them."""
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


def _roc(found: list[Detected], artifact: Artifact, colours: Mapping[str, Colour]) -> Figure:
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


def robustness_figure(
    stage: Stage,
    variant: str,
    rows: Iterable[Row],
    metrics: Iterable[Metric],
    colours: Mapping[str, Colour],
) -> Drawing | None:
    """Error against the size of an FGSM perturbation, mean and spread over the seeds."""
    sizes = {0.0: "error"}
    for metric in metrics:
        if metric.attack == "fgsm" and metric.epsilon is not None:
            sizes[metric.epsilon] = metric.name
    figure = new_figure(3.6, 6.4)
    axes = figure.subplots()
    drawn, listed = 0, list(rows)
    ordered = sorted(sizes)
    gap = min((b - a for a, b in itertools.pairwise(ordered)), default=0.0)
    for index, row in enumerate(listed):
        moved = DODGE * gap * (index / max(len(listed) - 1, 1) - 0.5)  # or equal ones would hide
        results = [result for _, result in stage.finished(variant, row.label)]
        points = [
            (size, [r.metrics[name] for r in results if name in r.metrics])
            for size, name in sorted(sizes.items())
        ]
        points = [(size, values) for size, values in points if values]
        if len(points) < 2:
            continue
        means = [float(np.mean(values)) for _, values in points]
        spread = [float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for _, v in points]
        axes.errorbar(
            [size + moved for size, _ in points],
            means,
            yerr=spread,
            marker=MARKERS[index % len(MARKERS)],
            markersize=5.5,
            linewidth=1.2,
            capsize=3,
            color=colours[row.label],
            label=row.label,
        )
        drawn = max(drawn, len(results))
    if not drawn:
        return None
    axes.set_xlabel("size of the perturbation ε, as a share of the pixel range")
    axes.set_ylabel("test error, %")
    axes.set_ylim(-3, 103)  # markers at the ends stay whole
    axes.set_yticks(range(0, 101, 20))
    if gap >= 0.1 * ordered[-1]:  # the labels have room
        axes.set_xticks(ordered)
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.legend(frameon=False)
    caption = (
        f"Mean over up to {drawn} seeds; bars: standard deviation (n-1). Measured at the marked "
        "sizes; the rows' points are moved apart sideways."
    )
    return finish(
        figure, "detection", f"fgsm-{variant}", titled("Error under FGSM", variant), caption
    )
