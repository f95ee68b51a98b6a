"""Training time and memory of each row."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from matplotlib.axes import Axes

from lossbench.planning.rows import Row, find_reference_rows
from lossbench.planning.selection import Stage
from lossbench.report.figures.style import Colour, Drawing, figure_title, new_figure, save_figure


def cost_figure(
    stage: Stage,
    variant: str,
    rows: Sequence[Row],
    colours: dict[str, Colour],
    reference: str | None,
) -> Drawing | None:
    """Bars of medians, and one point per finished trial.

    Returns:
        None where no trial of the variant finished.
    """
    ran = {r.label: [result for _, result in stage.finished(variant, r.label)] for r in rows}
    found = {label: results for label, results in ran.items() if results}
    if not found:
        return None
    times = {label: [r.wall_time_sec for r in results] for label, results in found.items()}
    memory = {label: [r.peak_memory_mib for r in results] for label, results in found.items()}
    names = find_reference_rows(reference, {r.label: r.entry for r in rows if r.label in found})
    compared = names[0] if len(names) == 1 else None
    figure = new_figure(0.9 + 0.27 * len(times))
    left, right = figure.subplots(1, 2, sharey=True)
    _bars(left, times, colours, compared)
    left.set_title("training time, seconds per trial")
    _bars(right, memory, colours, compared)
    right.set_title("peak memory, MiB")
    devices = sorted({r.device for results in found.values() for r in results})
    count = sum(map(len, times.values()))
    caption = (
        f"Bars and numbers: medians; points: {count} finished trials, on {', '.join(devices)}."
    )
    if compared:
        caption += (
            f" In brackets: cost relative to {compared}, if every trial of one row costs more than "
            "every trial of the other; otherwise the trials overlap."
        )
    if len(devices) > 1:
        caption += " The trials ran on several devices, so these costs are not comparable."
    caption += " Trials that ran in parallel slow each other down."
    return save_figure(figure, "cost", f"cost-{variant}", figure_title("Cost", variant), caption)


def relative_cost(own: Sequence[float], reference: Sequence[float]) -> str:
    """`×1.30`, the ratio of the medians; `trials overlap` if the ranges of the trials do.

    One trial has no range.
    """
    ratio = f"×{median(own) / median(reference):.2f}"
    if min(len(own), len(reference)) < 2:
        return f"{ratio}, 1 trial"
    apart = min(own) > max(reference) or max(own) < min(reference)
    return ratio if apart else "trials overlap"


def _bars(
    axes: Axes, values: dict[str, list[float]], colours: dict[str, Colour], compared: str | None
) -> None:
    """One bar per row; the medians are in a column to the right, clear of every point."""
    medians = {label: median(listed) for label, listed in values.items()}
    positions = range(len(values))
    axes.barh(positions, list(medians.values()), color=[colours[k] for k in values], height=0.62)
    for y, (label, listed) in enumerate(values.items()):
        axes.plot(
            listed,
            [y] * len(listed),
            "o",
            markersize=3.6,
            markerfacecolor="white",
            markeredgecolor="#222222",
            markeredgewidth=0.7,
            clip_on=False,
        )
        digits = 2 if medians[label] < 10 else 1 if medians[label] < 100 else 0
        text = f"{medians[label]:.{digits}f}"
        if compared and medians[compared] > 0:
            relative = relative_cost(listed, values[compared])
            text += f" ({'reference' if label == compared else relative})"
        axes.annotate(
            text,
            (1, y),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
            fontsize=8,
        )
    axes.set_yticks(positions, list(values))
    axes.set_ylim(len(values) - 0.45, -0.55)
    axes.set_xlim(0, 1.04 * max(max(listed) for listed in values.values()) or 1)
    axes.tick_params(left=False)
    axes.spines["left"].set_visible(False)
