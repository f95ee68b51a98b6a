"""The heat map has the ranks of its data, in their order and colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from matplotlib.patches import Rectangle

from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.figures.metric_ranks import rank_figure
from lossbench.report.figures.style import run_layout
from tests.analysis.test_metric_ranks import METRICS, results_of
from tests.report.figures.drawing import Drawn, contrast


def four(make_plan: Callable[..., Plan]) -> Plan:
    grouped = tuple(
        metric.model_copy(update={"group": group})
        for metric, group in zip(
            METRICS, ("accuracy", "detection", "calibration", "representation"), strict=True
        )
    )
    plan = make_plan("seeds: [0, 1]\nlosses: [softmax, center, triplet, lgm]\n")
    return replace(plan, metrics=grouped)


def test_lines_are_metrics_by_kind_and_columns_are_rows(
    make_plan: Callable[..., Plan], drawn: Drawn
) -> None:
    plan = four(make_plan)
    tables = make_tables(PlanWithResults(plan, results_of(plan, diverged="lgm")))
    rank_figure(tables, "default")
    figure, caption = drawn["ranks-default"]
    [axes] = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["error", "NLL", "AUROC"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        *("softmax", "center", "triplet", "lgm"),
    ]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    lines = [[cells[column, place] for column in range(4)] for place in axes.get_yticks()]
    assert lines == [
        ["3", "1.5", "1.5", "×"],
        ["1", "2", "3", "×"],
        ["2.5", "2.5", "1", "×"],
    ]
    headings = [text.get_text() for text in axes.texts if text.get_weight() == "bold"]
    assert headings == ["Accuracy", "Calibration", "Detection of other inputs"]
    assert "×: a trial diverged." in caption
    assert "2 seeds" in caption


def test_good_ranks_are_dark_and_every_number_is_readable(
    make_plan: Callable[..., Plan], drawn: Drawn
) -> None:
    plan = four(make_plan)
    rank_figure(make_tables(PlanWithResults(plan, results_of(plan))), "default")
    [axes] = drawn["ranks-default"][0].axes
    fills = {
        (patch.get_x() + 0.5, round(patch.get_y() + 0.5, 6)): patch.get_facecolor()[:3]
        for patch in axes.patches
        if isinstance(patch, Rectangle)
    }
    lightness = {}
    for text in axes.texts:
        column, place = text.get_position()
        if text.get_weight() == "bold":
            continue
        fill = fills[column, round(place, 6)]
        ink = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0)}[text.get_color()]
        assert contrast(ink, fill) > 4.5
        lightness[float(text.get_text())] = float(np.dot(fill, (0.2126, 0.7152, 0.0722)))
    ordered = [lightness[rank] for rank in sorted(lightness)]
    assert ordered == sorted(ordered)
    assert len(ordered) > 3


def test_headings_and_names_do_not_overlap(make_plan: Callable[..., Plan], drawn: Drawn) -> None:
    plan = four(make_plan)
    rank_figure(make_tables(PlanWithResults(plan, results_of(plan))), "default")
    figure, _ = drawn["ranks-default"]
    run_layout(figure)
    [axes] = figure.axes
    boxes = [
        text.get_window_extent()
        for text in (*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels())
    ]
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])


def test_no_figure_for_few_metrics(make_plan: Callable[..., Plan], drawn: Drawn) -> None:
    plan = replace(four(make_plan), metrics=METRICS[:2])
    assert rank_figure(make_tables(PlanWithResults(plan, results_of(plan))), "default") is None
