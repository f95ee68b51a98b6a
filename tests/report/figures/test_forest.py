"""The forest plot has the differences and intervals of its data, marked by verdict."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D

from lossbench.analysis.tables import Table, make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.figures.forest import LOOKS, forest_figures
from lossbench.report.figures.style import run_layout
from tests.analysis.made_up_tables import NAN
from tests.report.figures.drawing import Drawn, contrast, texts
from tests.report.synthetic_report import result_of

ROWS = ["center", "l_softmax", "contrastive", "triplet", "lgm"]
LEVELS = {"softmax": 5.0, "center": 5.05, "l_softmax": 6.3, "contrastive": 3.0, "lgm": 4.9}
WOBBLE = [0.0, 0.2, -0.1, 0.05, 0.15]


@pytest.fixture
def table(make_plan: Callable[..., Plan]) -> Table:
    plan = make_plan(
        "variants: {A: {model: {feature_dim: 2}}, B: {model: {feature_dim: 8}}}\n"
        "reference: softmax\nmin_effect: {error: 0.9}\n"
        f"losses: [softmax, {', '.join(ROWS)}]\n"
    )
    results = {}
    for trial in plan.trials:
        level = LEVELS.get(trial.row, NAN)
        wobble = 0.3 * trial.seed + WOBBLE[(3 * trial.seed + len(trial.row)) % 5]
        status = "finished" if level == level else "diverged"
        results[trial.identity] = result_of(trial, level + wobble, status=status)
    [table] = make_tables(PlanWithResults(plan, results))
    return table


def marks_of(lines: list[Line2D], markers: str) -> dict[float, Line2D]:
    """Height -> mark of a mean."""
    found = [line for line in lines if line.get_marker() in markers and line.get_markersize() > 5]
    return {float(line.get_ydata()[0]): line for line in found}


def test_marks_and_lines_are_those_of_the_verdicts(table: Table, drawn: Drawn) -> None:
    assert [d.name for d in forest_figures(table, table.variants)] == ["forest-A", "forest-B"]
    assert table.verdicts is not None
    verdicts = [v for v in table.verdicts.listed if v.variant == "A"]
    outcomes = {v.row: v.outcome for v in verdicts}
    assert set(outcomes.values()) == {"better", "worse", "equivalent", "none"}
    figure, caption = drawn["forest-A"]
    [axes] = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ROWS
    heights = dict(zip(ROWS, axes.get_yticks(), strict=True))
    assert list(heights.values()) == sorted(heights.values())
    assert axes.yaxis_inverted()  # the table's order from the top
    marks = marks_of(axes.lines, "osD")
    for verdict in verdicts:
        height = heights[verdict.row]
        if verdict.outcome == "none":
            assert height not in marks
            assert "all 3 seeds diverged" in texts(figure)
            continue
        mark, look = marks[height], LOOKS[verdict.outcome]
        assert mark.get_xdata()[0] == pytest.approx(verdict.difference.mean)
        assert (mark.get_marker(), mark.get_markeredgecolor()) == (look.marker, look.colour)
        [bar] = [x for x in axes.lines if len(x.get_xdata()) == 2 and x.get_ydata()[0] == height]
        assert verdict.interval is not None
        assert list(bar.get_xdata()) == pytest.approx([verdict.interval.low, verdict.interval.high])
    [band] = axes.patches
    assert (band.get_x(), band.get_width()) == pytest.approx((-0.9, 1.8))
    assert texts(figure)[-2:] == ["← better", "worse →"]
    assert axes.get_xlabel() == "difference to softmax, percentage points"
    assert "Grey band" in caption
    assert "corrected for 8 comparisons (Holm)" in caption
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["better", "worse", "equivalent"]


def test_verdicts_differ_without_colour_and_can_be_seen(drawn: Drawn) -> None:
    shapes = {(look.marker, look.filled) for look in LOOKS.values()}
    assert len(shapes) == len(LOOKS)
    for look in LOOKS.values():
        assert contrast(to_rgb(look.colour), (1.0, 1.0, 1.0)) > 3  # WCAG 2.1, graphics
    assert len({to_hex(look.colour) for look in LOOKS.values()}) == len(LOOKS)


LONG = (
    "contrastive: {weight: {grid: [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]}, "
    "margin: {grid: [1.5, 2.5, 3.5]}, softmax_weight: {grid: [0.25, 0.125]}}"
)


@pytest.mark.parametrize(("losses", "rows"), [("center: {}", 1), (LONG, 36)])
def test_names_do_not_overlap(
    make_plan: Callable[..., Plan], drawn: Drawn, losses: str, rows: int
) -> None:
    plan = make_plan(f"reference: softmax\nlosses: [softmax, {{{losses}}}]\n")
    place = {row.label: i for i, row in enumerate(plan.rows)}
    results = {
        t.identity: result_of(t, 50 - place[t.row] + 0.1 * ((7 * place[t.row] + t.seed) % 5))
        for t in plan.trials
    }
    [table] = make_tables(PlanWithResults(plan, results))
    forest_figures(table, table.variants)
    figure, _ = drawn["forest-default"]
    run_layout(figure)
    [axes] = figure.axes
    labels = axes.get_yticklabels()
    boxes = [label.get_window_extent() for label in labels]
    assert len(boxes) == rows
    assert all("\n" in label.get_text() for label in labels) == (rows > 1)
    for box, lower in itertools.pairwise(boxes):
        assert box.y0 >= lower.y1
    assert axes.get_window_extent().width > 0.4 * figure.bbox.width
    assert all(box.x0 >= 0 for box in boxes)


def test_without_verdicts_there_is_no_figure(
    make_plan: Callable[..., Plan], run_all: Callable, drawn: Drawn
) -> None:
    for body in (
        "losses: [softmax, center]\n",
        "seeds: [0]\nreference: softmax\nlosses: [softmax, center]\n",
    ):
        plan = make_plan(body)
        [table] = make_tables(PlanWithResults(plan, run_all(plan)))
        assert forest_figures(table, table.variants) == []
