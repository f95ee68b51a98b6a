"""Heat map of the rows' ranks by each metric."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from lossbench.analysis.metric_ranks import MetricRanks, metric_ranks
from lossbench.analysis.number_format import NOTHING
from lossbench.analysis.tables import Table
from lossbench.report.figures.style import (
    FIGURE_WIDTH_IN,
    INK,
    Drawing,
    figure_title,
    new_figure,
    save_figure,
    text_colour_on,
)
from lossbench.report.metric_groups import group_title, in_group_order
from lossbench.report.value_text import counted_seeds

DIVERGED = "×"
COLOURS = "YlGn_r"
"""Dark for good ranks; the lightness alone shows the order."""
UNRANKED = to_rgb("#f2f2f2")
LINE_IN, COLUMN_IN, LABEL_IN = 0.27, 0.85, 4.4
"""Height of a metric, width of a row, and width of the metrics' names."""
MAX_RANKS_LENGTH = 14
"""Longer names of rows are drawn at an angle."""


def rank_figure(tables: Sequence[Table], variant: str) -> Drawing | None:
    """One line per metric and one column per row, dark where the row is good."""
    found = in_group_order(metric_ranks(tables, variant), lambda one: one.table.group)
    if not found:
        return None
    labels = [row.label for row in found[0].table.rows]
    labels = [x for x in labels if any(x in one.ranks or x in one.unranked for one in found)]
    groups = [one.table.group for one in found]
    starts = [i for i, group in enumerate(groups) if i == 0 or group != groups[i - 1]]
    headed = len(starts) > 1
    places, place = [], 0.0  # a group has room for its name above it
    for index in range(len(found)):
        place += 1.1 if headed and index in starts else 0.0
        places.append(place)
        place += 1.0
    long = max(map(len, labels)) > MAX_RANKS_LENGTH
    width = min(LABEL_IN + COLUMN_IN * len(labels), 2 * FIGURE_WIDTH_IN)
    figure = new_figure(LINE_IN * place + (1.5 if long else 0.6), width)
    axes = figure.subplots()
    _draw_cells(axes, found, labels, places)
    if headed:
        for start in starts:
            axes.text(
                -0.5, places[start] - 0.95, group_title(groups[start]), weight="bold", va="center"
            )
    axes.set_ylim(place - 0.45, -0.55)
    axes.set_yticks(places, [one.table.metric_label for one in found])
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.xaxis.tick_top()
    axes.set_xticks(
        range(len(labels)), labels, rotation=30 if long else 0, ha="left" if long else "center"
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    seeds = counted_seeds(found[0].table)
    reasons = {reason for one in found for reason in one.unranked.values()}
    marks = [
        f" {DIVERGED}: a trial diverged." if "diverged" in reasons else "",
        f" {NOTHING}: trials are missing." if "missing" in reasons else "",
    ]
    caption = (
        f"Ranks of the means over {seeds}; 1, dark, is the best. Equal means share the average of "
        f"their ranks. Neighbouring ranks can differ by chance.{''.join(marks)}"
    )
    title = figure_title("Ranks by metric", variant)
    return save_figure(figure, "ranks", f"ranks-{variant}", title, caption)


def _draw_cells(
    axes: Axes, found: Sequence[MetricRanks], labels: Sequence[str], places: Sequence[float]
) -> None:
    colours = mpl.colormaps[COLOURS]
    last = max(len(labels) - 1, 1)
    for (place, one), (column, label) in itertools.product(
        zip(places, found, strict=True), enumerate(labels)
    ):
        rank = one.ranks.get(label)
        if rank is None:
            reason = one.unranked.get(label)
            text = {"diverged": DIVERGED, "missing": NOTHING}.get(reason or "", "")
            fill, ink = UNRANKED, INK
        else:
            fill = to_rgb(colours(0.12 + 0.8 * (rank - 1) / last))
            text, ink = f"{rank:g}", text_colour_on(fill)
        axes.barh(place, 1.0, left=column - 0.5, height=1.0, color=fill, edgecolor="white")
        axes.text(column, place, text, ha="center", va="center_baseline", color=ink, size=8)
