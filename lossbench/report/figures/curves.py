"""Learning curves: error and training loss over the epochs, one figure a variant."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from lossbench.planning.rows import Row
from lossbench.planning.selection import Stage
from lossbench.records import TrialResult
from lossbench.report.figures.style import (
    PNG_DPI,
    Colour,
    Drawing,
    finish,
    lay_out,
    new_figure,
    shade,
    titled,
)

LABEL_HEIGHT_PT = 10.5
LOG_FROM_RATIO = 10
"""Values that span at least this factor are drawn on a logarithmic axis."""


def learning_curves(
    stage: Stage, variant: str, rows: Sequence[Row], colours: dict[str, Colour]
) -> Drawing | None:
    """Mean over the seeds with the range between them; diverged trials dashed.

    Returns:
        None where no trial of the variant has a history.
    """
    shown = [row for row in rows if any(r.history for _, r in stage.ran(variant, row.label))]
    if not shown:
        return None
    finished = {row.label for row in shown if stage.finished(variant, row.label)}
    error = f"{stage.measured}_error"
    height_in = max(3.8, (len(shown) * LABEL_HEIGHT_PT + 60) / 72)
    figure = new_figure(height_in)
    drawn = []
    for axes, metric, label in zip(
        figure.subplots(1, 2),
        (error, "train_loss"),
        (f"error, % of {stage.images} images", "training loss (each row its own quantity)"),
        strict=True,
    ):
        ends: dict[str, tuple[float, float]] = {}
        for row in shown:
            results = [result for _, result in stage.ran(variant, row.label)]
            end = _draw_row(axes, results, metric, colours[row.label])
            if end is not None:
                ends[row.label] = end
        axes.set_title(label)
        axes.set_xlabel("epoch")
        _epochs(axes)
        _scale(axes)
        drawn.append((axes, ends))
    lay_out(figure)  # the limits are final
    for axes, ends in drawn:
        _label_ends(axes, ends, colours, finished)
    results = [result for row in shown for _, result in stage.ran(variant, row.label)]
    diverged = sum(result.status == "diverged" for result in results)
    caption = f"Line: mean over the finished seeds; band: their range. {len(results)} trials" + (
        f", of which {diverged} diverged (dashed, up to ×)." if diverged else "."
    )
    title = titled("Learning curves", variant)
    return finish(figure, "curves", f"curves-{variant}", title, caption)


def _draw_row(
    axes: Axes, results: list[TrialResult], metric: str, colour: Colour
) -> tuple[float, float] | None:
    """Draw one row; return its last point (epoch, value)."""
    finished = [_points(r, metric) for r in results if r.status == "finished"]
    end: tuple[float, float] | None = None
    for points in (_points(r, metric) for r in results if r.status == "diverged"):
        if points:
            epochs, values = list(points), list(points.values())
            axes.plot(epochs, values, color=colour, linewidth=0.9, linestyle=(0, (3, 2)))
            axes.plot(epochs[-1:], values[-1:], "x", color=colour, markersize=5)
            end = (epochs[-1], values[-1])
    epochs = sorted({epoch for points in finished for epoch in points})
    if epochs:
        by_epoch = [[p[epoch] for p in finished if epoch in p] for epoch in epochs]
        means = [float(np.mean(values)) for values in by_epoch]
        low, high = [min(values) for values in by_epoch], [max(values) for values in by_epoch]
        marker = "o" if len(epochs) == 1 else None
        axes.fill_between(epochs, low, high, color=colour, alpha=0.13, linewidth=0)
        if len(epochs) == 1:  # where a band has no width
            axes.vlines(epochs, low, high, color=colour, linewidth=1)
        axes.plot(epochs, means, color=colour, linewidth=1.5, marker=marker, markersize=4)
        end = (epochs[-1], means[-1])
    return end


def _points(result: TrialResult, metric: str) -> dict[int, float]:
    return {r.epoch: r.metrics[metric] for r in result.history if metric in r.metrics}


def _epochs(axes: Axes) -> None:
    """Whole epochs; a single one stands in the middle."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    epochs = {float(epoch) for line in axes.lines for epoch in np.asarray(line.get_xdata())}
    if len(epochs) == 1:
        [only] = epochs
        axes.set_xlim(only - 0.5, only + 0.5)
        axes.set_xticks([only], [f"{only:g}"])


def _scale(axes: Axes) -> None:
    """A logarithmic y axis where values span a wide range; zeros stay visible."""
    values = np.concatenate(
        [np.asarray(line.get_ydata(), float) for line in axes.lines] or [np.zeros(1)]
    )
    positive = values[values > 0]
    if not len(positive) or values.min() < 0 or positive.max() < LOG_FROM_RATIO * positive.min():
        axes.set_ylim(bottom=min(0.0, float(values.min())))
        return
    if values.min() > 0:
        axes.set_yscale("log")
    else:
        axes.set_yscale("symlog", linthresh=float(positive.min()), linscale=0.4)
        axes.set_ylim(bottom=0)
    decades = np.log10(positive.max() / positive.min())
    subs = (1, 2, 5) if decades < 3 else (1,)
    ticks = LogLocator(subs=subs).tick_values(positive.min(), positive.max())
    low, high = axes.get_ylim()
    inside = [tick for tick in ticks if low <= tick <= high]
    axes.set_yticks([0.0, *inside] if values.min() == 0 else inside)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _label_ends(
    axes: Axes,
    ends: dict[str, tuple[float, float]],
    colours: dict[str, Colour],
    finished: Collection[str],
) -> None:
    """Write each row's label right of the axes, beside its last point and clear of the others."""
    if not ends:
        return
    to_axes = axes.transData + axes.transAxes.inverted()
    height_pt = axes.get_window_extent().height * 72 / PNG_DPI
    wanted = {
        label: tuple(map(float, to_axes.transform(end))) for label, end in ends.items()
    }  # in fractions of the axes
    order = sorted(wanted, key=lambda label: wanted[label][1])
    heights = spread([wanted[label][1] for label in order], LABEL_HEIGHT_PT / height_pt)
    for label, y in zip(order, heights, strict=True):
        axes.plot(
            [wanted[label][0], 1.03],
            [wanted[label][1], y],
            transform=axes.transAxes,
            color=colours[label],
            linewidth=0.7,
            alpha=0.5,  # it leads to the label, and is no curve
            linestyle="-" if label in finished else ":",
            clip_on=False,
        )
        axes.annotate(
            label if label in finished else f"{label}, diverged",
            (1.04, y),
            xycoords="axes fraction",
            va="center",
            fontsize=7.5,
            color=shade(colours[label], 0.5),
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
