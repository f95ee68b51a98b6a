"""Colours of rows, text that contrasts with them, and the user's own style."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from lossbench.planning.plan import Plan
from lossbench.report.figures.style import (
    HUES,
    OTHER_HUES,
    Drawing,
    figure_style,
    new_figure,
    row_colours,
    save_figure,
    text_colour_on,
)
from tests.report.figures.drawing import contrast


def test_rows_of_one_loss_get_shades_of_its_colour(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan("losses: [softmax, {lgm: {alpha: {grid: [0.0, 0.3, 1.0]}}}]\n")
    colours = row_colours(plan.rows)
    assert len(set(colours.values())) == 4
    light, middle, dark = (sum(colours[f"lgm(alpha={a})"]) for a in ("0", "0.3", "1"))
    assert light > middle > dark
    hue = tuple(int(HUES["lgm"][i : i + 2], 16) / 255 for i in (1, 3, 5))
    assert colours["lgm(alpha=0.3)"] == pytest.approx(hue)


def test_text_stands_out_from_any_colour() -> None:
    for colour in np.random.default_rng(0).random((500, 3)):
        text = max(("black", "white"), key=lambda t: contrast(colour, to_rgb(t)))
        assert text_colour_on(tuple(colour)) == text
        assert contrast(colour, to_rgb(text)) > 4.5


def test_entries_of_one_loss_have_different_hues(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(
        "losses: [{lgm: {label: a, alpha: {grid: [0.0, 1.0]}}}, {lgm: {label: b, alpha: 3.0}}, "
        "softmax]\n"
    )
    colours = row_colours(plan.rows)
    alone = row_colours(make_plan("losses: [lgm: {alpha: {grid: [0.0, 1.0]}}]\n").rows)
    assert [colours["a(alpha=0)"], colours["a(alpha=1)"]] == list(alone.values())
    assert colours["b"] == to_rgb(OTHER_HUES[0])
    assert colours["softmax"] == to_rgb(HUES["softmax"])


def test_a_users_matplotlib_settings_change_no_figure() -> None:
    usual = _drawn_line()
    users: dict[Any, Any] = {"lines.dash_capstyle": "round", "xtick.direction": "in"}
    with mpl.rc_context(users | {"svg.fonttype": "none", "savefig.bbox": "tight"}):
        assert _drawn_line() == usual
        assert mpl.rcParams["svg.fonttype"] == "none"  # the user's own again


def _drawn_line() -> Drawing:
    with figure_style():
        figure = new_figure(1.0, 2.0)
        figure.subplots().plot([0, 1], [1, 0], "--", label="line")
        return save_figure(figure, "curves", "curves", "Curves", "")
