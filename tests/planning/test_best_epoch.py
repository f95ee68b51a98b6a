"""Error of the best epoch from a history, and its measurement without a new training."""

from __future__ import annotations

import math

import pytest

from lossbench.planning.best_epoch import best_error
from lossbench.planning.measurements import result_for
from lossbench.planning.trial import PlannedEvaluation, Trial
from lossbench.records import EpochRecord, TrialResult
from tests.synthetic_trials import make_trial


def history(*errors: float | None, key: str = "test_error") -> tuple[EpochRecord, ...]:
    return tuple(
        EpochRecord(
            epoch=epoch,
            timestamp_ms=epoch,
            metrics={"train_error": 0.0, **({key: error} if error is not None else {})},
        )
        for epoch, error in enumerate(errors, 1)
    )


def result(trial: Trial, *errors: float, status: str = "finished") -> TrialResult:
    return TrialResult.model_validate(
        {
            "identity": trial.identity,
            "status": status,
            "metrics": {},
            "history": history(*errors),
            "wall_time_sec": 1.0,
            "peak_memory_mib": 1.0,
            "device": "cpu",
            "environment": {"torch": "2"},
            "weights_digest": "w",
        }
    )


@pytest.fixture
def trial() -> Trial:
    trial = make_trial("a", 0)
    recipe = trial.recipe.model_copy(update={"epochs": 3})
    evaluate = (PlannedEvaluation(name="best_error"),)
    return trial.model_copy(update={"recipe": recipe, "evaluate": evaluate})


@pytest.mark.parametrize("key", ["test_error", "holdout_error"])
@pytest.mark.parametrize("errors", [(5.0,), (9.0, 4.0, 7.0), (4.0, 9.0, 9.0), (0.0, 0.0)])
def test_it_is_the_smallest_error_of_all_epochs(errors: tuple[float, ...], key: str) -> None:
    smallest = math.inf
    for error in errors:
        if error < smallest:
            smallest = error
    assert best_error(history(*errors, key=key), len(errors)) == smallest


def test_it_is_unknown_without_the_error_of_each_epoch() -> None:
    whole = history(3.0, 2.0, 1.0)
    assert math.isnan(best_error(whole, 4))
    assert math.isnan(best_error(whole[1:], 2))
    assert math.isnan(best_error((whole[0], whole[2]), 2))
    assert math.isnan(best_error(history(3.0, None, 1.0), 3))
    assert math.isnan(best_error((), 1))


def test_a_stored_history_measures_it(trial: Trial) -> None:
    found = result_for(trial, result(trial, 9.0, 4.0, 7.0))
    assert (found.metrics, found.unmeasured) == ({"best_error": 4.0}, ())
    [record] = found.measurements
    assert record.identity == trial.measurement_identities[0]


def test_it_stays_unmeasured_if_the_history_has_not_all_epochs(trial: Trial) -> None:
    found = result_for(trial, result(trial, 9.0, 4.0))
    assert (found.metrics, found.unmeasured) == ({}, ("best_error",))


@pytest.mark.parametrize("status", ["diverged", "stopped"])
def test_a_training_without_a_usable_end_has_none(trial: Trial, status: str) -> None:
    found = result_for(trial, result(trial, 9.0, 4.0, 7.0, status=status))
    assert (found.metrics, found.measurements, found.unmeasured) == ({}, (), ())


def test_other_evaluations_stay_unmeasured(trial: Trial) -> None:
    evaluate = (PlannedEvaluation(name="error"), *trial.evaluate)
    asked = trial.model_copy(update={"evaluate": evaluate})
    found = result_for(asked, result(asked, 9.0, 4.0, 7.0))
    assert (found.metrics, found.unmeasured) == ({"best_error": 4.0}, ("error",))
