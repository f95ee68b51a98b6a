"""Learning curves as a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from lossbench.report.figures.curves import Curve, LearningCurves, Panel
from lossbench.report.figures.style import (
    PNG_DPI,
    Drawing,
    new_figure,
    run_layout,
    save_figure,
    shade,
)

LABEL_HEIGHT_PT = 10.5


def curve_figure(curves: LearningCurves) -> Drawing:
    """Mean over the seeds with the range between them; diverged trials dashed."""
    rows = {curve.label for panel in curves.panels for curve in panel.curves}
    figure = new_figure(max(3.8, (len(rows) * LABEL_HEIGHT_PT + 60) / 72))
    drawn = list(
        zip(figure.subplots(1, len(curves.panels), squeeze=False)[0], curves.panels, strict=True)
    )
    for axes, panel in drawn:
        for curve in panel.curves:
            _draw_curve(axes, curve)
        axes.set_title(panel.title)
        axes.set_xlabel("epoch")
        _scale_epochs(axes, panel)
        _scale_values(axes, panel)
    run_layout(figure)  # the limits are final
    for axes, panel in drawn:
        _label_ends(axes, panel.curves)
    caption = f"Line: mean over the finished seeds; band: their range. {curves.trials} trials."
    if curves.diverged:
        lines = "line" if curves.diverged == 1 else "lines"
        caption += f" Dashed {lines}: {curves.diverged} diverged; × marks the last epoch."
    return save_figure(figure, "curves", curves.name, curves.title, caption)


def _draw_curve(axes: Axes, curve: Curve) -> None:
    epochs, colour = curve.epochs, curve.colour
    if curve.diverged:
        axes.plot(epochs, curve.means, color=colour, linewidth=0.9, linestyle=(0, (3, 2)))
        axes.plot(epochs[-1:], curve.means[-1:], "x", color=colour, markersize=5)
        return
    marker = "o" if len(epochs) == 1 else None
    axes.fill_between(epochs, curve.lows, curve.highs, color=colour, alpha=0.13, linewidth=0)
    if len(epochs) == 1:  # where a band has no width
        axes.vlines(epochs, curve.lows, curve.highs, color=colour, linewidth=1)
    axes.plot(epochs, curve.means, color=colour, linewidth=1.5, marker=marker, markersize=4)


def _scale_epochs(axes: Axes, panel: Panel) -> None:
    """Whole epochs; a single one is in the middle."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    only = panel.only_epoch
    if only is not None:
        axes.set_xlim(only - 0.5, only + 0.5)
        axes.set_xticks([only], [f"{only:g}"])


def _scale_values(axes: Axes, panel: Panel) -> None:
    """A logarithmic axis where values span a wide range; zeros stay visible."""
    lowest, highest, smallest = min(panel.values), max(panel.values), panel.smallest_positive
    if not panel.logarithmic:
        axes.set_ylim(bottom=min(0.0, lowest))
        return
    if lowest > 0:
        axes.set_yscale("log")
    else:
        axes.set_yscale("symlog", linthresh=smallest, linscale=0.4)
        axes.set_ylim(bottom=0)
    subs = (1, 2, 5) if np.log10(highest / smallest) < 3 else (1,)
    ticks = LogLocator(subs=subs).tick_values(smallest, highest)
    low, high = axes.get_ylim()
    inside = [tick for tick in ticks if low <= tick <= high]
    axes.set_yticks([0.0, *inside] if lowest == 0 else inside)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _label_ends(axes: Axes, curves: Sequence[Curve]) -> None:
    """Write each row's label to the right, near its last point and clear of the others."""
    labelled: dict[str, Curve] = {}
    for curve in curves:  # a diverged trial is labelled where no seed of its row finished
        if not curve.diverged or labelled.get(curve.label, curve).diverged:
            labelled[curve.label] = curve
    to_axes = axes.transData + axes.transAxes.inverted()
    height_pt = axes.get_window_extent().height * 72 / PNG_DPI
    ends = {
        label: tuple(map(float, to_axes.transform((curve.epochs[-1], curve.means[-1]))))
        for label, curve in labelled.items()
    }  # in fractions of the axes
    order = sorted(ends, key=lambda label: ends[label][1])
    heights = spread([ends[label][1] for label in order], LABEL_HEIGHT_PT / height_pt)
    for label, y in zip(order, heights, strict=True):
        curve = labelled[label]
        axes.plot(
            [ends[label][0], 1.03],
            [ends[label][1], y],
            transform=axes.transAxes,
            color=curve.colour,
            linewidth=0.7,
            alpha=0.5,  # it leads to the label, and is no curve
            linestyle=":" if curve.diverged else "-",
            clip_on=False,
        )
        axes.annotate(
            f"{label}, diverged" if curve.diverged else label,
            (1.04, y),
            xycoords="axes fraction",
            va="center",
            fontsize=7.5,
            color=shade(curve.colour, 0.5),
            annotation_clip=False,
        )


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move sorted positions apart to at least `gap`, each group centred on where it was.

    Args:
        positions: Sorted, in [0, 1].
        gap: Smallest distance.

    Returns:
        Positions in [0, 1], as far as there is room.
    """
    groups: list[list[float]] = []
    for position in positions:
        groups.append([position])
        while len(groups) > 1 and _bottom(groups[-1], gap) < _top(groups[-2], gap) + gap:
            last = groups.pop()
            groups[-1] += last
    return [_bottom(group, gap) + i * gap for group in groups for i in range(len(group))]


def _bottom(group: list[float], gap: float) -> float:
    height = gap * (len(group) - 1)
    return max(0.0, min(sum(group) / len(group) - height / 2, 1 - height))


def _top(group: list[float], gap: float) -> float:
    return _bottom(group, gap) + gap * (len(group) - 1)
