"""Lines over the levels of the columns: places, means, bars, axes."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from lossbench.analysis.tables import make_tables
from lossbench.assembly.check import check
from lossbench.planning.selection import PlanWithResults
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.report.figures.levels import level_figures
from lossbench.report.figures.style import Drawing, row_colours
from lossbench.suite.load import load_suite
from tests.report.figures.drawing import Drawn
from tests.report.synthetic_report import result_of

SUITE = """\
suite: levels
dataset: digits
model: {name: digits_cnn, feature_dim: 2}
recipe: {epochs: 2, batch_size: 64, optimizer: {name: sgd, lr: 0.05}}
seeds: [0, 1, 2]
reference: softmax
losses: [softmax, center, lgm: {alpha: {grid: [0.0, 1.0]}}]
"""
NOISE = """\
variants:
  high: {dataset: {label_noise: {symmetric: 0.6}}}
  clean: {}
  low: {dataset: {label_noise: {symmetric: 0.2}}}
evaluate: [error, best_error]
"""
TAIL = """\
variants:
  balanced: {}
  tail 10: {dataset: {imbalance: {long_tail: 10}}}
  tail 50: {dataset: {imbalance: {long_tail: 50}}}
"""
FOUND = {"clean": 0.0, "low": 20.0, "high": 60.0}
Draw = Callable[..., list[Drawing]]
Outcome = Callable[[Trial], float | None]


def error(trial: Trial) -> float:
    """Another mean and spread in each cell."""
    place = ["clean", "balanced", "low", "tail 10", "high", "tail 50"].index(trial.variant)
    return 5.0 + 4 * place + len(trial.row) + (1 + 0.3 * place) * trial.seed


def result(trial: Trial, outcome: Outcome) -> TrialResult | None:
    value = outcome(trial)
    if value is None:
        return None
    if math.isnan(value):
        return result_of(trial, value, status="diverged")
    metrics = {e.name: value / (3 if e.name == "best_error" else 1) for e in trial.evaluate}
    return result_of(trial, value, metrics=metrics)


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    def figures(more: str = NOISE, outcome: Outcome = error) -> list[Drawing]:
        path = tmp_path / "levels.yaml"
        path.write_text(SUITE + more, encoding="utf-8")
        plan = check(load_suite(path), tmp_path)
        results = {t.identity: r for t in plan.trials if (r := result(t, outcome))}
        tables = make_tables(PlanWithResults(plan, results))
        return list(level_figures(tables, row_colours(plan.rows)))

    return figures


def lines(figure: Figure) -> dict[str, list[tuple[float, float, float]]]:
    """Row -> (place, mean, half the length of the bar) of each point."""
    [axes] = figure.axes
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    drawn = {}
    for label, bars in zip(labels, axes.containers, strict=False):
        line, _, [segments] = bars.lines
        halves = [(s[1][1] - s[0][1]) / 2 if len(s) else 0.0 for s in segments.get_segments()]
        points = line.get_xydata()
        drawn[label] = [(x, y, h) for (x, y), h in zip(points, halves, strict=True)]
    return drawn


def test_points_are_means_with_their_standard_deviation_at_the_levels(
    draw: Draw, drawn: Drawn
) -> None:
    draw()
    figure, caption = drawn["levels-error"]
    rows = lines(figure)
    assert list(rows) == ["softmax", "center", "lgm(alpha=0)", "lgm(alpha=1)"]
    for row, points in rows.items():
        for (x, mean, half), (variant, level) in zip(points, FOUND.items(), strict=True):
            place = ["clean", "balanced", "low", "tail 10", "high", "tail 50"].index(variant)
            values = [5.0 + 4 * place + len(row) + (1 + 0.3 * place) * seed for seed in range(3)]
            assert mean == pytest.approx(statistics.fmean(values))
            assert half == pytest.approx(statistics.stdev(values))
            assert abs(x - level) < 3  # of 20 between two levels
    [axes] = figure.axes
    assert axes.get_xlabel() == "wrong training labels, % (symmetric)"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "20", "60"]
    assert list(axes.get_xticks()) == [0, 20, 60]
    assert axes.get_ylabel() == "Test error\n% of test images"
    assert "3 seeds" in caption


def test_rows_do_not_cover_each_other(draw: Draw, drawn: Drawn) -> None:
    draw(outcome=lambda trial: 10.0 + trial.seed)
    figure, _ = drawn["levels-error"]
    [axes] = figure.axes
    figure.draw_without_rendering()
    places = [
        [axes.transData.transform((x, y)) for x, y, _ in points]
        for points in lines(figure).values()
    ]
    for nearer, farther in itertools.pairwise(places):
        for (left, _), (right, _) in zip(nearer, farther, strict=True):
            assert (right - left) * 72 / figure.dpi > 3


def test_each_metric_of_the_headline_has_a_figure_with_the_same_axis(
    draw: Draw, drawn: Drawn
) -> None:
    titles = [drawing.title for drawing in draw()]
    assert titles[0] == "Label noise: test error"
    assert list(drawn) == ["levels-error", "levels-best_error"]
    limits = {figure.axes[0].get_ylim() for figure, _ in drawn.values()}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low == 0
    assert high > max(y + h for p in lines(drawn["levels-error"][0]).values() for _, y, h in p)
    best = lines(drawn["levels-best_error"][0])["softmax"]
    last = lines(drawn["levels-error"][0])["softmax"]
    assert [y for _, y, _ in best] == pytest.approx([y / 3 for _, y, _ in last])


def test_an_imbalance_is_on_a_logarithmic_axis_from_1(draw: Draw, drawn: Drawn) -> None:
    draw(TAIL)
    [axes] = drawn["levels-error"][0].axes
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "10", "50"]
    assert "long tail" in axes.get_xlabel()


def test_a_setting_without_a_name_of_its_own_is_its_path(draw: Draw, drawn: Drawn) -> None:
    depths = "variants: {balanced: {}, low: {recipe: {epochs: 3}}, high: {recipe: {epochs: 4}}}\n"
    [drawing] = draw(depths)
    assert drawing.title == "recipe.epochs: test error"
    [axes] = drawn["levels-error"][0].axes
    assert axes.get_xlabel() == "recipe.epochs"
    assert axes.get_xscale() == "linear"


@pytest.mark.parametrize(
    "variants",
    [
        "",
        "variants: {clean: {}, low: {dataset: {label_noise: {symmetric: 0.2}}}}\n",
        "variants: {clean: {}, low: {recipe: {epochs: 3}},"
        " high: {recipe: {epochs: 4, batch_size: 32}}}\n",
    ],
    ids=["one column", "two levels", "two settings"],
)
def test_other_columns_have_no_figure(draw: Draw, variants: str) -> None:
    assert draw(variants, lambda trial: 5.0) == []


def test_without_results_there_is_no_figure(draw: Draw) -> None:
    assert draw(outcome=lambda trial: None) == []


def test_diverged_and_missing_seeds_are_marked_and_not_drawn_as_values(
    draw: Draw, drawn: Drawn
) -> None:
    def outcome(trial: Trial) -> float | None:
        if trial.variant == "high" and trial.row == "center":
            return math.nan
        if trial.variant == "low" and trial.row == "softmax" and trial.seed == 2:
            return None
        return error(trial)

    draw(outcome=outcome)
    figure, caption = drawn["levels-error"]
    [axes] = figure.axes
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[-2:] == ["without some seeds", "no finished seed"]
    rows = lines(figure)
    assert math.isnan(rows["center"][2][1])
    marks = [line for line in axes.lines if line.get_marker() == "x"]
    assert len(marks) == 1
    assert abs(marks[0].get_xdata()[0] - 60) < 3
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [line.get_ydata()[0] for line in hollow] == [pytest.approx(rows["softmax"][1][1])]
    assert "the finished of 3 seeds" in caption
