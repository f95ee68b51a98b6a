"""Whether adversarial or foreign inputs are noticed (Figs. 3-6 of the L-GM paper)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lossbench.plan import Artifact, Metric, Row, Trial
from lossbench.records import TrialResult
from lossbench.report.stages import Arrays, ReadArrays, Stage
from lossbench.report.style import (
    FIGURE_WIDTH_IN,
    Colour,
    Drawing,
    finish,
    new_figure,
    titled,
)

BINS = np.linspace(0, 1, 41)
NORMAL = "#B8B8B8"
PERCENT = 100.0


@dataclass(frozen=True)
class Detected:
    """What one row's first finished seed stored."""

    row: Row
    trial: Trial
    result: TrialResult
    arrays: Arrays


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
    name = f"{artifact.name.removeprefix('detection_')}-{variant}"
    return [
        finish(
            _histograms(found, "posterior", "largest posterior p_max", colours),
            "detection",
            f"posterior-{name}",
            titled(f"Posterior of the predicted class: {artifact.title}", variant),
            "Share of the inputs in each of 40 bins; grey: normal test images, coloured: "
            f"{artifact.title}. {of}",
        ),
        finish(
            _histograms(found, "likelihood", "likelihood", colours),
            "detection",
            f"likelihood-{name}",
            titled(f"Likelihood of the predicted class: {artifact.title}", variant),
            "Share of the inputs in each of 40 bins; grey: normal test images, coloured: "
            f"{artifact.title}. The likelihood is exp(-d), d of the predicted class, for losses "
            "that model a density, and for the others the affinity, scaled to [0, 1] over both "
            f"kinds. {of}",
        ),
        finish(
            _roc(found, artifact, colours),
            "detection",
            f"roc-{name}",
            titled(f"Telling normal inputs from others: {artifact.title}", variant),
            f"Accepted by a threshold on the likelihood. Dots: equal error rate (EER). {of}",
        ),
    ]


def _histograms(
    found: list[Detected], quantity: str, label: str, colours: Mapping[str, Colour]
) -> Figure:
    columns = min(len(found), 3)
    lines = math.ceil(len(found) / columns)
    width = FIGURE_WIDTH_IN * max(columns, 2) / 3
    figure = new_figure(0.4 + 2.1 * lines, width)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in grid[len(found) :]:
        axes.set_axis_off()
    for index, (axes, detected) in enumerate(zip(grid, found, strict=False)):
        for which, colour, alpha in (
            ("normal", NORMAL, 1.0),
            ("other", colours[detected.row.label], 0.65),
        ):
            values = detected.arrays[f"{quantity}_{which}"]
            values = values[np.isfinite(values)]
            shares = PERCENT * np.histogram(values, BINS)[0] / max(len(values), 1)
            axes.stairs(shares, BINS, fill=True, color=colour, alpha=alpha)
            axes.stairs(shares, BINS, color=_darker(colour), linewidth=0.8)
        axes.set_title(detected.row.label)
        axes.set_xlim(0, 1)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0, 100)
        axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        if index >= len(found) - columns:
            axes.set_xlabel(label)
            axes.tick_params(labelbottom=True)
        if index % columns == 0:
            axes.set_ylabel("% of inputs")
    return figure


def _darker(colour: str | Colour) -> Colour:
    from matplotlib.colors import to_rgb

    r, g, b = to_rgb(colour)
    return 0.6 * r, 0.6 * g, 0.6 * b


def _roc(found: list[Detected], artifact: Artifact, colours: Mapping[str, Colour]) -> Figure:
    figure = new_figure(4.2, 6.4)
    axes = figure.subplots()
    axes.plot([0, 100], [100, 0], color="#cccccc", linewidth=0.8, zorder=0)
    key = artifact.name.removeprefix("detection_")
    for detected in found:
        eer = detected.result.metrics[f"{key}_eer"]
        colour = colours[detected.row.label]
        axes.plot(
            PERCENT * detected.arrays["false_accept"],
            PERCENT * detected.arrays["true_accept"],
            color=colour,
            label=f"{detected.row.label}, EER {eer:.1f} %",
        )
        axes.plot(eer, PERCENT - eer, "o", color=colour, markersize=5)
    _percent_axes(axes)
    axes.set_xlabel(f"accepted of the others ({artifact.title}), %")
    axes.set_ylabel("accepted of the normal images, %")
    axes.legend(loc="lower right", frameon=False)
    return figure


def _percent_axes(axes: Axes) -> None:
    axes.set_xlim(-1, 101)
    axes.set_ylim(-1, 101)
    axes.set_aspect("equal")
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)


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
        if metric.name.startswith("fgsm_") and metric.name.endswith("_error"):
            sizes[float(metric.name.removeprefix("fgsm_").removesuffix("_error"))] = metric.name
    figure = new_figure(3.6, 6.4)
    axes = figure.subplots()
    drawn = 0
    for row in rows:
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
            [size for size, _ in points],
            means,
            yerr=spread,
            marker="o",
            capsize=3,
            color=colours[row.label],
            label=row.label,
        )
        drawn = max(drawn, len(results))
    if not drawn:
        return None
    axes.set_xlabel("size of the perturbation ε, as a share of the pixel range")
    axes.set_ylabel("test error, %")
    axes.set_ylim(0, 100)
    axes.grid(axis="y", color="#eeeeee")
    axes.legend(frameon=False)
    caption = f"Mean over up to {drawn} seeds; bars: standard deviation (n-1)."
    return finish(
        figure, "detection", f"fgsm-{variant}", titled("Error under FGSM", variant), caption
    )
