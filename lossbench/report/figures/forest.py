"""Forest plot: the difference of every row to the reference row, with its interval."""

from __future__ import annotations

import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lossbench.analysis.comparison import Verdict
from lossbench.analysis.number_format import difference_unit
from lossbench.analysis.statistics import Interval
from lossbench.analysis.tables import Table
from lossbench.report.figures.style import INK, Drawing, figure_title, new_figure, save_figure
from lossbench.report.forest import ForestPanel, forest_panels, wrap_label
from lossbench.report.verdict_text import corrected_for, verdict_reason

WIDTH_IN, LINE_IN, AROUND_IN = 4.6, 0.25, 1.2
"""Width of a panel, which a phone shows without zooming; height of a row, and of the rest."""
MAX_LABEL_LENGTH, MAX_REASON_LENGTH = 26, 42
BAND, QUIET = "#e4e4e4", "#767676"


@dataclass(frozen=True)
class _Look:
    """Colour (of Okabe & Ito, colour-blind safe) and marker, which differ in print without it."""

    colour: str
    marker: str
    filled: bool = True
    size: float = 6.5


LOOKS = {
    "better": _Look("#00805e", "o"),
    "worse": _Look("#D55E00", "s", size=6),
    "equivalent": _Look("#0072B2", "D", size=5.5),
    "undecided": _Look("#5A5A5A", "o", filled=False),
}


def forest_figures(table: Table, variants: Collection[str]) -> list[Drawing]:
    """One figure per given column with verdicts: rows in the table's order."""
    panels = [panel for panel in forest_panels(table) if panel.variant in variants]
    cut = any(map(_is_cut, panels))
    return [_drawing(table, panel, cut=cut) for panel in panels]


def _drawing(table: Table, panel: ForestPanel, *, cut: bool) -> Drawing:
    column = panel.variant if table.has_variants else ""
    figure = draw_panel(panel, difference_unit(table.unit), table.higher_is_better, column)
    title = figure_title(f"Difference to {panel.reference}", panel.variant)
    caption = _caption(table, panel.reference, cut=cut)
    return save_figure(figure, "forest", f"forest-{panel.variant}", title, caption)


def draw_panel(panel: ForestPanel, unit: str, higher_is_better: bool, column: str = "") -> Figure:
    """A figure with one line per row.

    Args:
        panel: What is drawn.
        unit: Unit of the differences; empty without one.
        higher_is_better: Whether positive differences are better.
        column: Heading; empty for none.
    """
    labels = ["\n".join(wrap_label(v.row, MAX_LABEL_LENGTH)) for v in panel.verdicts]
    sizes = [1 + 0.55 * label.count("\n") for label in labels]
    places = [end - size / 2 for end, size in zip(accumulate(sizes), sizes, strict=True)]
    figure = new_figure(LINE_IN * sum(sizes) + AROUND_IN, WIDTH_IN)
    axes = figure.subplots()
    _draw_background(axes, panel)
    for place, verdict in zip(places, panel.verdicts, strict=True):
        _draw_row(axes, place, verdict, panel.shown)
    axes.set_yticks(places, labels)
    for tick, verdict in zip(axes.get_yticklabels(), panel.verdicts, strict=True):
        tick.set_color(QUIET if verdict.outcome == "none" else INK)
    axes.set_ylim(sum(sizes) + 0.1, -0.1)
    axes.set_xlim(panel.shown.low, panel.shown.high)
    axes.set_xlabel(f"difference to {panel.reference}{f', {unit}' if unit else ''}")
    axes.tick_params(left=False)
    axes.spines["left"].set_visible(False)
    for x, text, align in _sides(higher_is_better):
        axes.annotate(
            text, (x, 1), xycoords="axes fraction", xytext=(0, 4), textcoords="offset points",
            ha=align, va="bottom", fontsize=8, color=LOOKS[text.strip("← →")].colour,
        )  # fmt: skip
    if column:
        figure.suptitle(column, x=0.01, ha="left", fontsize=10, fontweight="bold")
    seen = [name for name in LOOKS if any(v.outcome == name for v in panel.verdicts)]
    figure.legend(
        handles=[_mark(name) for name in seen],
        loc="outside lower center", ncols=len(seen), frameon=False, fontsize=8,
        handletextpad=0.2, columnspacing=1.2,
    )  # fmt: skip
    return figure


def _sides(higher: bool) -> tuple[tuple[float, str, str], tuple[float, str, str]]:
    left, right = ("worse", "better") if higher else ("better", "worse")
    return (0.0, f"← {left}", "left"), (1.0, f"{right} →", "right")


def _draw_background(axes: Axes, panel: ForestPanel) -> None:
    axes.grid(axis="y", color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    if panel.margin:
        axes.axvspan(-panel.margin, panel.margin, color=BAND, linewidth=0, zorder=0.2)
    axes.axvline(0, color=INK, linewidth=1, zorder=1)


def _draw_row(axes: Axes, place: float, verdict: Verdict, shown: Interval) -> None:
    mean, interval = verdict.difference.mean, verdict.interval
    if verdict.outcome == "none" or mean is None:
        reason = textwrap.shorten(verdict_reason(verdict), MAX_REASON_LENGTH, placeholder=" …")
        axes.text(
            (shown.low + shown.high) / 2, place, reason, ha="center", va="center_baseline",
            fontsize=8, color=QUIET, style="italic",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5}, zorder=2,
        )  # fmt: skip
        return
    look = LOOKS[verdict.outcome]
    if interval is not None:
        low, high = max(interval.low, shown.low), min(interval.high, shown.high)
        axes.plot([low, high], [place, place], color=look.colour, linewidth=1.6, zorder=2)
        for end, cut, arrow in ((low, interval.low < low, "<"), (high, interval.high > high, ">")):
            marker = arrow if cut else "|"
            axes.plot(end, place, marker, color=look.colour, markersize=5, clip_on=False, zorder=2)
    axes.plot(mean, place, zorder=3, **_marker(look))


def _marker(look: _Look) -> dict[str, Any]:
    return {
        "marker": look.marker,
        "markersize": look.size,
        "markerfacecolor": look.colour if look.filled else "white",
        "markeredgecolor": look.colour,
        "markeredgewidth": 1.4,
        "linestyle": "none",
    }


def _mark(name: str) -> Line2D:
    return Line2D([], [], label=name, **_marker(LOOKS[name]))


def _caption(table: Table, reference: str, *, cut: bool) -> str:
    """The same for all columns of a table, so that a page needs it only once."""
    assert table.verdicts is not None
    corrected = corrected_for(table)
    parts = [
        f"{table.label}, row minus {reference}, at the same seeds: mean and 95 % interval"
        f"{f', corrected for {corrected}' if corrected else ''}."
    ]
    if any(verdict.margin for verdict in table.verdicts.listed):
        parts.append("Grey band: differences that count as none.")
    if cut:
        parts.append("Arrowhead: the interval continues.")
    if table.verdicts.out_of_line:
        names = ", ".join(table.verdicts.out_of_line)
        parts.append(f"Tested by a spread of its own, out of line with the others: {names}.")
    return " ".join(parts)


def _is_cut(panel: ForestPanel) -> bool:
    intervals = [v.interval for v in panel.verdicts if v.interval]
    return any(i.low < panel.shown.low or i.high > panel.shown.high for i in intervals)
