"""Error against the size of an adversarial perturbation."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import numpy as np

from lossbench.planning.rows import Row
from lossbench.planning.selection import Stage
from lossbench.records import Metric
from lossbench.report.figures.detection import MARKERS
from lossbench.report.figures.style import Colour, Drawing, figure_title, new_figure, save_figure

ATTACKS = {"fgsm": "FGSM", "float32_fgsm": "FGSM (float32 cross-entropy)"}
"""Attacks that are drawn, with their titles, by the names in their metrics."""
DODGE = 0.16
"""How far the rows' points spread sideways, as a share of the distance between two sizes."""


def robustness_figure(
    stage: Stage,
    variant: str,
    rows: Iterable[Row],
    metrics: Iterable[Metric],
    colours: Mapping[str, Colour],
    attack: str,
) -> Drawing | None:
    """Error against the size of an FGSM perturbation: mean and standard deviation over seeds.

    Args:
        stage: Trials with their results.
        variant: Name of the column.
        rows: Rows to draw.
        metrics: Metrics of the plan.
        colours: Colour of each row.
        attack: Name of the attack in the metrics: `fgsm`, or `float32_fgsm`.
    """
    sizes = {0.0: "error"}
    for metric in metrics:
        if metric.attack == attack and metric.epsilon is not None:
            sizes[metric.epsilon] = metric.name
    if len(sizes) < 2:
        return None
    figure = new_figure(3.6, 6.4)
    axes = figure.subplots()
    drawn, listed = 0, list(rows)
    ordered = sorted(sizes)
    gap = min((b - a for a, b in itertools.pairwise(ordered)), default=0.0)
    for index, row in enumerate(listed):
        shift = DODGE * gap * (index / max(len(listed) - 1, 1) - 0.5)  # equal points would overlap
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
            [size + shift for size, _ in points],
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
        "sizes; the rows' points are shifted sideways."
    )
    title = figure_title(f"Error under {ATTACKS[attack]}", variant)
    return save_figure(figure, "detection", f"{attack}-{variant}", title, caption)
