"""Errors under attack: points of different rows do not cover each other."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from lossbench.evaluation.attacks import Fgsm
from lossbench.planning.plan import Plan
from lossbench.report.figures.robustness import robustness_figure
from lossbench.report.figures.style import row_colours
from tests.report.figures.drawing import TWO, Drawn, stage_of


def test_equal_errors_under_fgsm_do_not_hide_one_another(
    make_plan: Callable[..., Plan], drawn: Drawn
) -> None:
    plan = make_plan(TWO)
    metrics = Fgsm(epsilons=[0.1, 0.3]).metrics()
    stage = stage_of(plan, **{"fgsm_0.1_error": 50.0, "fgsm_0.3_error": 100.0})
    robustness_figure(stage, "default", plan.rows, metrics, row_colours(plan.rows), "fgsm")
    [axes] = drawn["fgsm-default"][0].axes
    lines = [bars.lines[0] for bars in axes.containers]
    places = [axes.transData.transform(line.get_xydata()) for line in lines]
    for nearer, farther in itertools.pairwise(places):
        apart_pt = (farther - nearer)[:, 0] * 72 / drawn["fgsm-default"][0].dpi
        assert (apart_pt > 4).all()
    assert len({line.get_marker() for line in lines}) == 3
    for line, size in ((line, i) for line in lines for i in range(3)):
        assert abs(line.get_xdata()[size] - (0, 0.1, 0.3)[size]) <= 0.01


def test_the_figure_of_a_float32_cross_entropy_has_the_points_of_that_attack(
    make_plan: Callable[..., Plan], drawn: Drawn
) -> None:
    plan = make_plan(TWO)
    exact = Fgsm(epsilons=[0.1, 0.3]).metrics()
    metrics = [*exact, *Fgsm(epsilons=[0.1], objective="float32_cross_entropy").metrics()]
    stage = stage_of(plan, **{"fgsm_0.1_error": 50.0, "float32_fgsm_0.1_error": 30.0})
    colours = row_colours(plan.rows)
    robustness_figure(stage, "default", plan.rows, metrics, colours, "float32_fgsm")
    [axes] = drawn["float32_fgsm-default"][0].axes
    assert {bars.lines[0].get_ydata()[1] for bars in axes.containers} == {30.0}
    assert robustness_figure(stage, "default", plan.rows, exact, colours, "float32_fgsm") is None
