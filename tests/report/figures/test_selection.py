"""The heat map of a selection: marks of the choice, and numbers that can be read."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.figures import selection
from lossbench.report.figures.style import row_colours
from tests.report.figures.drawing import Drawn, contrast

SWEEP = """
seeds: [0]
selection: {holdout: 0.2}
losses: [softmax, {lgm: {alpha: {grid: [0.1, 0.3]}, lambda: {grid: [0.1, 1.0, 2.0]}}}]
"""


def test_the_grid_marks_the_choice_and_the_suites_own(
    make_plan: Callable[..., Plan], run_all: Callable, drawn: Drawn
) -> None:
    plan = make_plan(SWEEP)
    held_out, *_ = make_tables(PlanWithResults(plan, run_all(plan)))
    compared = ["lgm(alpha=0.1,lambda=1)"]
    colours = row_colours(plan.rows)
    assert selection.selection_figure(held_out, "default", "softmax", colours, compared) is None
    selection.selection_figure(held_out, "default", "lgm", colours, compared)
    figure, caption = drawn["selection-default-lgm"]
    axes = figure.axes[0]
    [outline] = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert outline.get_xy() == (2, 1)  # lambda = 2, alpha = 0.3: the last row is the best here
    [star] = axes.lines
    assert np.floor(star.get_xydata()).tolist() == [[1, 0]]
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["chosen", "named for comparison"]
    assert "star: named by the suite for comparison" in caption
    for text, colour in zip(axes.texts, axes.collections[0].get_facecolor(), strict=True):
        assert contrast(tuple(colour[:3]), to_rgb(text.get_color())) > 4.5


def test_a_cell_without_a_value_leaves_the_others_readable(
    make_plan: Callable[..., Plan], fill: Callable, drawn: Drawn
) -> None:
    plan = make_plan(SWEEP)
    errors = {f"default/{row.label}": [1.0 + i] for i, row in enumerate(plan.rows)}
    errors["default/lgm(alpha=0.1,lambda=1)"] = [None]
    held_out, *_ = make_tables(PlanWithResults(plan, fill(plan, errors)))
    selection.selection_figure(held_out, "default", "lgm", row_colours(plan.rows))
    figure, _ = drawn["selection-default-lgm"]
    assert len(figure.axes[0].texts) == 5 + 1
    colours = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
    assert "not run" in colours  # and the empty one says why
    assert colours["2.00"] == "white"  # the darkest
    assert colours["7.00"] == "black"  # the lightest


def test_each_entry_has_a_figure_with_a_name_for_files(
    make_plan: Callable[..., Plan], run_all: Callable, drawn: Drawn
) -> None:
    lambdas = "alpha: {grid: [0.1, 0.3]}, lambda: "
    plan = make_plan(
        "seeds: [0]\nselection: {}\n"
        f"losses: [{{lgm: {{label: ours, {lambdas} 1.0}}}}, "
        f"{{lgm: {{label: '$\\lambda$ <b>', {lambdas} 2.0}}}}]\n"
    )
    held_out, *_ = make_tables(PlanWithResults(plan, run_all(plan)))
    for entry in ("ours", r"$\lambda$ <b>"):
        selection.selection_figure(held_out, "default", entry, row_colours(plan.rows))
    names = list(drawn)
    assert names[0] == "selection-default-ours"
    assert re.fullmatch(r"selection-default-lambda_b-[0-9a-f]{6}", names[1])
