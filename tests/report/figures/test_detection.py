"""Histograms, ROC curves and errors under attack."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.patches import StepPatch

from lossbench.evaluation.ood_detection import detection_artifact
from lossbench.planning.plan import Plan
from lossbench.report.figures import detection
from lossbench.report.figures.style import row_colours
from tests.report.figures.drawing import TWO, Drawn, stage_of

FGSM = detection_artifact("fgsm_0.3", "FGSM, ε = 0.3")


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
    def logarithm(**arrays: list[float]) -> tuple[np.ndarray, np.ndarray] | None:
        single = {f"likelihood_{k}": np.array(v, np.float32) for k, v in arrays.items()}
        return detection.log10_likelihood(single)

    logs = logarithm(normal=[0.1, 0.01], other=[0.0, 1e-12])
    assert logs is not None
    np.testing.assert_allclose(logs[0], [-1, -2], rtol=1e-6)
    np.testing.assert_allclose(logs[1], [detection.LOWEST_LOG10, -12], rtol=1e-6)
    assert logarithm(normal=[0.5, 1.0], other=[0.0, 0.2]) is None


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


def test_a_partly_measured_table_is_drawn_from_the_trials_that_are_measured(
    make_plan: Callable[..., Plan], drawn: Drawn
) -> None:
    plan = make_plan(TWO)
    trials = {trial.identity: trial for trial in plan.trials}

    def read(identity: str, name: str) -> dict[str, np.ndarray] | None:
        trial = trials[identity]
        return detected_arrays(trial.row) if trial.seed == 1 else None

    def draw(**metrics: float) -> list[object]:
        stage = stage_of(plan, **metrics)
        colours = row_colours(plan.rows)
        return list(detection.detection_figures(stage, "default", plan.rows, FGSM, colours, read))

    assert draw(**{"fgsm_0.3_eer": 2.0})
    assert {caption.rpartition("One trial per row, ")[2] for _, caption in drawn.values()} >= {
        "seed 1."
    }
    assert draw(error=2.0) == []  # arrays of an earlier version, whose metrics are not used
