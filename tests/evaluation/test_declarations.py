"""Messages for the author of an evaluation on what it declares and returns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from lossbench.evaluation import EVALUATIONS, Evaluation, Measurement, Metric, Trained
from lossbench.evaluation.declarations import (
    WrongMeasurementError,
    checked,
    declaration_problem,
)
from lossbench.records import Artifact
from tests.evaluation.test_metrics import with_defaults

GOOD = Metric(name="my_metric", label="my metric")


class Own(Evaluation):
    """An evaluation with one metric and one artifact."""

    def metrics(self) -> tuple[Metric, ...]:
        return (GOOD,)

    def artifacts(self) -> tuple[Artifact, ...]:
        return (Artifact(name="mine", kind="per_class", title="mine", key="mine"),)

    def __call__(self, trained: Trained) -> Measurement:
        raise NotImplementedError


ARRAYS = {"mine": {"value": np.zeros(3)}}


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (GOOD, "should return a tuple of lossbench.evaluation.Metric"),
        (("my_metric",), "should return a tuple of lossbench.evaluation.Metric"),
        (None, "should return a tuple of lossbench.evaluation.Metric"),
        ((), "at least one metric"),
        ((Metric(name="my metric", label="m"),), "'my metric': a name should have letters"),
        ((Metric(name="größe", label="m"),), "'größe': a name should have letters"),
        ((Metric(name="", label="m"),), "a name should have letters"),
        ((Metric(name="../x", label="m"),), "a name should have letters"),
        ((Metric(name="train_loss", label="m"),), "this name is used for what every trial"),
        ((Metric(name="holdout_x", label="m"),), "this name is used for what every trial"),
        ((Metric(name="wall_time_sec", label="m"),), "this name is used for what every trial"),
        ((Metric(name="m", label=" "),), "its label is empty"),
        ((GOOD, GOOD), "metric 'my_metric' is declared twice"),
    ],
)
def test_faulty_metrics_get_one_message(metrics: Any, message: str) -> None:
    problem = declaration_problem(metrics, ())
    assert message in problem
    assert "\n" not in problem


def test_faulty_artifacts_get_one_message() -> None:
    artifact = Artifact(name="a/b", kind="per_class", title="a", key="a")
    assert "'a/b': a name should have" in declaration_problem((GOOD,), (artifact,))
    assert "should return a tuple of lossbench.records.Artifact" in declaration_problem(
        (GOOD,), ["x"]
    )


@pytest.mark.parametrize("name", EVALUATIONS.builtin_names)
def test_the_evaluations_of_lossbench_follow_the_rules(name: str) -> None:
    evaluation = with_defaults(name)
    assert declaration_problem(evaluation.metrics(), evaluation.artifacts()) == ""


@pytest.mark.parametrize(
    "value", [2, 2.0, np.float32(2), np.int64(2), np.array(2.0), torch.tensor(2.0), True + True]
)
def test_numbers_of_any_library_become_floats(value: Any) -> None:
    found = checked(Own(), Measurement({"my_metric": value}, ARRAYS)).values
    assert found == {"my_metric": 2.0}
    assert type(found["my_metric"]) is float


def test_nan_is_returned_and_counted_as_divergence_elsewhere() -> None:
    found = checked(Own(), Measurement({"my_metric": torch.tensor(math.nan)}, ARRAYS))
    assert math.isnan(found.values["my_metric"])


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (3.0, "should return a lossbench.evaluation.Measurement, not float"),
        (None, "should return a lossbench.evaluation.Measurement, not NoneType"),
        (Measurement({}, ARRAYS), "metric 'my_metric' is declared, but was not returned"),
        (Measurement([1.0], ARRAYS), "its metrics should be a mapping, not list"),  # type: ignore[arg-type]
        (
            Measurement({"my_metric": 1.0, "other": 2.0}, ARRAYS),
            "metric 'other' was returned, but is not declared",
        ),
        (Measurement({"my_metric": "1"}, ARRAYS), "'my_metric' should be a number, not '1'"),  # type: ignore[dict-item]
        (Measurement({"my_metric": torch.ones(2)}, ARRAYS), "should be a number, not tensor"),  # type: ignore[dict-item]
        (Measurement({"my_metric": 1.0}), "artifact 'mine' is declared, but was not returned"),
        (Measurement({"my_metric": 1.0}, {"mine": [1]}), "a mapping of names to NumPy arrays"),  # type: ignore[dict-item]
        (
            Measurement({"my_metric": 1.0}, {"mine": {"x": np.array([{}])}}),
            "a mapping of names to NumPy arrays",
        ),
    ],
)
def test_wrong_results_get_one_message(returned: Any, message: str) -> None:
    with pytest.raises(WrongMeasurementError, match=message):
        checked(Own(), returned)
