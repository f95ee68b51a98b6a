"""The values of single classes, as means over the seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lossbench.planning.plan import Plan
from lossbench.records import Artifact, Metric
from lossbench.report.figures.per_class import per_class_figure
from lossbench.report.figures.style import row_colours
from tests.report.figures.drawing import TWO, Drawn, stage_of

ARTIFACT = Artifact(
    name="per_class_error",
    kind="per_class",
    title="error of each class",
    key="error",
    metrics=("balanced_error", "worst_class_error"),
)
METRICS = (Metric(name="balanced_error", label="balanced error", unit="% of images, mean"),)


def draw(plan: Plan, classes: int, names: list[str] | None = None, lowest: float = 0.0) -> None:
    seeds = {trial.identity: trial.seed for trial in plan.trials}

    def read(identity: str, name: str) -> dict[str, Any]:
        assert name == "per_class_error"
        arrays: dict[str, Any] = {
            "labels": np.arange(classes),
            "count": np.full(classes, 9),
            "value": lowest + (np.arange(classes) * 7.0 + 4 * seeds[identity]) % 50,
        }
        return arrays | ({"class_names": np.array(names)} if names else {})

    stage = stage_of(plan, balanced_error=10.0)
    per_class_figure(stage, "default", plan.rows, ARTIFACT, METRICS, row_colours(plan.rows), read)


def expected(classes: int) -> np.ndarray[Any, Any]:
    return np.mean([(np.arange(classes) * 7.0 + 4 * seed) % 50 for seed in (0, 1)], axis=0)


@pytest.mark.parametrize("names", [None, ["cat", "dog", "aeroplane"]])
def test_points_are_means_over_seeds(
    make_plan: Callable[..., Plan], drawn: Drawn, names: list[str] | None
) -> None:
    draw(make_plan(TWO), 3, names)
    figure, caption = drawn["per_class_error-default"]
    [axes] = figure.axes
    points = [line for line in axes.lines if line.get_marker() != "None"]
    assert len(points) == 3
    for line in points:
        np.testing.assert_allclose(line.get_ydata(), expected(3))
        assert (np.round(line.get_xdata()) == np.arange(3)).all()
    assert len({line.get_marker() for line in points}) == 3
    assert [tick.get_text() for tick in axes.get_xticklabels()] == names or ["0", "1", "2"]
    assert axes.get_ylabel() == "error of each class, %"
    assert caption == "Mean over up to 2 seeds, of 3 classes."


def test_many_classes_are_sorted(make_plan: Callable[..., Plan], drawn: Drawn) -> None:
    draw(make_plan(TWO), 100)
    figure, caption = drawn["per_class_error-default"]
    [axes] = figure.axes
    for line in axes.lines:
        np.testing.assert_allclose(line.get_ydata(), np.sort(expected(100)))
    assert len(axes.lines) == 3
    assert caption.endswith("For each row the classes are sorted by their value.")


@pytest.mark.parametrize("lowest", [0.0, -30.0])
def test_negative_values_are_inside_the_axes(
    make_plan: Callable[..., Plan], drawn: Drawn, lowest: float
) -> None:
    draw(make_plan(TWO), 3, lowest=lowest)
    [axes] = drawn["per_class_error-default"][0].axes
    assert axes.get_ylim()[0] == min(0.0, lowest + expected(3).min())
