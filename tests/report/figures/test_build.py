"""What a reader can tell from each figure: marks, axes, names, contrast."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch

from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults, Stage
from lossbench.records import Artifact, Metric
from lossbench.report.combined_table import combine_metrics
from lossbench.report.figures import cost, curves, detection, embeddings, geometry, selection
from lossbench.report.figures.style import Drawing, figure_style, readable_on, row_colours
from tests.report.synthetic_report import make_arrays, result_of

TWO = "seeds: [0, 1]\nlosses: [softmax, {lgm: {alpha: {grid: [0.0, 1.0]}}}]\n"
ONE_EPOCH = """
suite: synthetic
dataset: digits
model: {name: digits_cnn}
recipe: {epochs: 1, batch_size: 64, optimizer: {name: sgd, lr: 0.01}}
"""
SWEEP = """
seeds: [0]
selection: {holdout: 0.2}
losses: [softmax, {lgm: {alpha: {grid: [0.1, 0.3]}, lambda: {grid: [0.1, 1.0, 2.0]}}}]
"""
FGSM = Artifact(name="detection_fgsm_0.3", kind="detection", title="FGSM, ε = 0.3")

Drawn = dict[str, tuple[Figure, str]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[Drawn]:
    """Figures and captions by name, as they are when a module hands them over to be saved."""
    kept: Drawn = {}

    def keep(figure: Figure, kind: str, name: str, title: str, caption: str) -> Drawing:
        kept[name] = figure, caption
        return Drawing(kind, name, title, caption, b"", b"")

    for module in (cost, curves, detection, embeddings, geometry, selection):
        monkeypatch.setattr(module, "finish", keep)
    with figure_style():
        yield kept


def stage_of(plan: Plan, **metrics: float) -> Stage:
    results = {
        trial.identity: result_of(
            trial, 3.0, metrics={"error": 3.0, **metrics}, wall_time_sec=10.0 + 30 * trial.seed
        )
        for trial in plan.trials
    }
    return Stage("test", plan.trials, results)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("epochs", [1, 2, 3, 8])
def test_epochs_are_whole_numbers(
    make_plan: Callable[..., Plan], drawn: Drawn, epochs: int
) -> None:
    plan = make_plan(TWO, head=ONE_EPOCH.replace("epochs: 1", f"epochs: {epochs}"))
    curves.learning_curves(stage_of(plan), "default", plan.rows, row_colours(plan.rows))
    for axes in drawn["curves-default"][0].axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == round(tick) for tick in ticks)
        if epochs == 1:
            assert (low, high, ticks) == (0.5, 1.5, [1])


def panels_of(plan: Plan, names: list[str] | None) -> list[embeddings.Panel]:
    """Of two classes, with everything that can be drawn of them."""
    x, y = np.linspace(-17, 17, 60), np.linspace(-16, 16, 60)
    grid = np.stack(np.meshgrid(x, y), -1)

    def read(identity: str, name: str) -> dict[str, Any]:
        trial = next(trial for trial in plan.trials if trial.identity == identity)
        arrays = make_arrays(trial, classes=2, points=50)
        scores = [-0.5 * np.square(grid - mean).sum(-1) for mean in arrays["class_means"]]
        arrays |= {"grid_x": x, "grid_y": y, "class_log_density": np.stack(scores)}
        arrays["log_density"] = np.logaddexp(*scores)
        return arrays if names is None else {**arrays, "class_names": np.array(names)}

    return embeddings.find_panels(stage_of(plan), "default", plan.rows, read)


@pytest.mark.parametrize(
    ("names", "marks", "said"),
    [
        (["3", "8"], ["3", "8"], "class means with the class's name"),
        (["cat", "dog"], ["0", "1"], "class means (0 cat, 1 dog)"),
        (None, ["0", "1"], "class means with the class's number"),
    ],
)
def test_classes_bear_their_names(
    make_plan: Callable[..., Plan],
    drawn: Drawn,
    names: list[str] | None,
    marks: list[str],
    said: str,
) -> None:
    panels = panels_of(make_plan(TWO), names)
    embeddings.embedding_figure("default", panels)
    embeddings.likelihood_figure("default", panels)
    geometry.geometry_figure("default", panels)
    for figure in ("embedding-default", "likelihood-default"):
        assert texts(drawn[figure][0]) == marks * 3
        assert said in drawn[figure][1]
    assert texts(drawn["geometry-default"][0]) == (names or marks) * 3


def test_the_legend_of_a_single_panel_is_whole(
    make_plan: Callable[..., Plan], drawn: Drawn
) -> None:
    geometry.geometry_figure("default", panels_of(make_plan(TWO), None)[2:])
    figure, _ = drawn["geometry-default"]
    figure.canvas.draw()
    extent = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= extent.x0
    assert extent.x1 <= figure.bbox.x1


def detected_arrays(row: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(len(row))
    arrays = {f"posterior_{w}": random.beta(2, 2, 300) for w in ("normal", "other")}
    distances = {"normal": random.gamma(4, 6, 300), "other": random.gamma(8, 16, 300)}
    for which, d in distances.items():
        if row == "softmax":
            d = (d.max() - d) / (d.max() - d.min())
            arrays[f"likelihood_{which}"] = d.astype(np.float32)
        else:
            arrays[f"likelihood_{which}"] = np.exp(-d).astype(np.float32)
            arrays[f"log10_likelihood_{which}"] = (-d / np.log(10)).astype(np.float32)
    false_accept = np.linspace(0, 1, 1001)
    return {**arrays, "false_accept": false_accept, "true_accept": false_accept**0.01}


@pytest.fixture
def detections(make_plan: Callable[..., Plan], drawn: Drawn) -> Drawn:
    plan = make_plan(TWO)
    rows = {trial.identity: trial.row for trial in plan.trials}
    stage = stage_of(plan, **{"fgsm_0.3_eer": 2.0})
    detection.detection_figures(
        stage,
        "default",
        plan.rows,
        FGSM,
        row_colours(plan.rows),
        lambda identity, name: detected_arrays(rows[identity]),
    )
    return drawn


def test_normal_and_other_inputs_differ_by_more_than_colour(detections: Drawn) -> None:
    figure, _ = detections["posterior-fgsm_0.3-default"]
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["normal test images", FGSM.title]
    normal, other = legend.get_patches()
    for axes in figure.axes:
        drawn = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
        assert len(drawn) == 2
        for patch, handle in zip(drawn, (normal, other), strict=True):
            assert patch.get_hatch() == handle.get_hatch()
            assert patch.get_facecolor() == handle.get_facecolor()
    assert normal.get_hatch() is None
    assert other.get_hatch()
    assert normal.get_facecolor()[3] == 1
    assert other.get_facecolor()[3] == 0


def test_the_likelihood_has_a_logarithmic_axis_where_there_is_a_density(detections: Drawn) -> None:
    figure, caption = detections["likelihood-fgsm_0.3-default"]
    labels = [axes.get_xlabel() for axes in figure.axes if axes.axison]
    logarithm = "log10 of the likelihood"
    assert labels == ["affinity, scaled", "likelihood", "likelihood", logarithm, logarithm]
    assert "1e-30" in caption
    for axes in figure.axes[4:]:
        low, high = axes.get_xlim()
        assert -30 <= low < -20
        assert high == 0
        for patch in axes.patches:  # everything is in some bin
            assert patch.get_data().values.sum() == pytest.approx(100)
    linear = figure.axes[1].patches[1].get_data()  # center's case: all in one bin
    assert linear.values[0] > 99


def test_the_logarithm_of_results_without_one() -> None:
    def found(**arrays: list[float]) -> detection.Detected:
        single = {f"likelihood_{k}": np.array(v, np.float32) for k, v in arrays.items()}
        return detection.Detected(None, None, None, single)  # type: ignore[arg-type]

    logs = found(normal=[0.1, 0.01], other=[0.0, 1e-12]).log10_likelihood
    assert logs is not None
    np.testing.assert_allclose(logs[0], [-1, -2], rtol=1e-6)
    np.testing.assert_allclose(logs[1], [detection.LOWEST_LOG10, -12], rtol=1e-6)
    assert found(normal=[0.5, 1.0], other=[0.0, 0.2]).log10_likelihood is None


def test_roc_curves_begin_at_a_thousandth(detections: Drawn) -> None:
    figure, caption = detections["roc-fgsm_0.3-default"]
    [axes] = figure.axes
    assert axes.get_xscale() == "log"
    assert axes.get_xlim() == (0.1, 100)
    assert "logarithmic, from 0.1 %" in caption
    curves_drawn = [line for line in axes.lines if len(line.get_xdata()) == 1001]
    assert len({line.get_linestyle() for line in curves_drawn}) == 3
    at_one_percent = np.interp(1.0, *np.asarray(curves_drawn[0].get_data()))
    assert at_one_percent == pytest.approx(100 * 0.01**0.01, rel=1e-3)


def test_equal_errors_under_fgsm_do_not_hide_one_another(
    make_plan: Callable[..., Plan], drawn: Drawn
) -> None:
    plan = make_plan(TWO)
    metrics = [Metric(name=f"fgsm_{e}_error", label="", unit="% of images") for e in (0.1, 0.3)]
    stage = stage_of(plan, **{"fgsm_0.1_error": 50.0, "fgsm_0.3_error": 100.0})
    detection.robustness_figure(stage, "default", plan.rows, metrics, row_colours(plan.rows))
    [axes] = drawn["fgsm-default"][0].axes
    lines = [bars.lines[0] for bars in axes.containers]
    places = [axes.transData.transform(line.get_xydata()) for line in lines]
    for nearer, farther in itertools.pairwise(places):
        apart_pt = (farther - nearer)[:, 0] * 72 / drawn["fgsm-default"][0].dpi
        assert (apart_pt > 4).all()
    assert len({line.get_marker() for line in lines}) == 3
    for line, size in ((line, i) for line in lines for i in range(3)):
        assert abs(line.get_xdata()[size] - (0, 0.1, 0.3)[size]) <= 0.01


def contrast(colour: tuple[float, ...], other: tuple[float, ...]) -> float:
    """WCAG 2.1, https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio"""
    weights = np.array([0.2126, 0.7152, 0.0722])
    light = []
    for c in (np.array(colour), np.array(other)):
        light.append(
            float(weights @ np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4))
        )
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_text_stands_out_from_any_colour() -> None:
    for colour in np.random.default_rng(0).random((500, 3)):
        text = max(("black", "white"), key=lambda t: contrast(colour, to_rgb(t)))
        assert readable_on(tuple(colour)) == text
        assert contrast(colour, to_rgb(text)) > 4.5


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


def test_costs_stand_clear_of_the_points(make_plan: Callable[..., Plan], drawn: Drawn) -> None:
    plan = make_plan(TWO)
    cost.cost(stage_of(plan), "default", plan.rows, row_colours(plan.rows), "softmax")
    figure, _ = drawn["cost-default"]
    figure.canvas.draw()  # the layout is final
    for axes in figure.axes:
        points = np.concatenate(
            [axes.transData.transform(line.get_xydata()) for line in axes.lines]
        )
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
            row.label for row in plan.rows
        ]
        for text in axes.texts:
            assert text.get_window_extent().x0 > points[:, 0].max() + 10
            assert text.get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize(
    ("softmax", "lgm", "bold"),
    [
        ([99.90, 100.0, 100.0], [100.0, 100.0, 100.0], False),  # 99.97 ± 0.06
        ([90.0, 91.0], [98.0, 99.0], False),  # of two seeds the interval is 13 wide
        ([90.0, 90.1], [99.8, 99.9], True),
        ([90.0, 90.1, 90.2], [90.8, 90.9, 91.0], True),
        ([90.0], [99.0], False),
        ([99.0, 99.1], [99.0, 99.1], False),
    ],
)
def test_bold_in_the_combined_table_is_beyond_the_noise(
    make_plan: Callable[..., Plan], softmax: list[float], lgm: list[float], bold: bool
) -> None:
    plan = make_plan(f"seeds: {list(range(len(lgm)))}\nlosses: [softmax, lgm]\n")
    auroc = Metric(name="auroc", label="AUROC", higher_is_better=True)
    plan = replace(plan, metrics=(Metric(name="error", label="error", unit="% of images"), auroc))
    values = {"softmax": softmax, "lgm": lgm}
    results = {
        t.identity: result_of(t, 1.0, metrics={"error": 1.0, "auroc": values[t.row][t.seed]})
        for t in plan.trials
    }
    combined = combine_metrics(make_tables(PlanWithResults(plan, results)))
    assert combined is not None
    _, (_, *cells) = combined.rows
    assert [cell.emphasis == "best" for cell in cells] == [False, bold]


@pytest.mark.parametrize(
    ("own", "reference", "expected"),
    [
        ([13.0, 14.0], [10.0, 11.0], "×1.29"),
        ([7.0, 7.4, 7.8], [10.0, 11.0, 12.0], "×0.67"),
        ([8.0, 12.0], [10.0, 11.0], "not told apart"),
        ([7.0, 7.4, 10.5], [10.0, 11.0, 12.0], "not told apart"),
        ([10.0, 10.0], [10.0, 10.0], "not told apart"),
        ([7.4], [10.0], "×0.74, 1 trial"),
        ([7.4, 7.5], [10.0], "×0.74, 1 trial"),
    ],
)
def test_a_ratio_of_costs_needs_trials_that_do_not_overlap(
    own: list[float], reference: list[float], expected: str
) -> None:
    assert cost.relative_cost(own, reference) == expected
