"""Error of the best epoch, computed from the history of a training without a new measurement."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, MeasurementRecord, TrialResult

BEST_ERROR = "best_error"
"""Name of the evaluation and of its metric."""
ERRORS = ("test_error", "holdout_error")
"""Names of the error on the measured images in a record of an epoch."""


def best_error(history: Sequence[EpochRecord], epochs: int) -> float:
    """Smallest error on the measured images over the epochs, in percent.

    Args:
        history: Records of the epochs.
        epochs: Number of epochs of the training.

    Returns:
        The error; NaN if an epoch has no record or no error.
    """
    if [record.epoch for record in history] != list(range(1, epochs + 1)):
        return math.nan
    errors = [
        value
        for record in history
        for key in ERRORS
        if (value := record.metrics.get(key)) is not None
    ]
    return min(errors) if len(errors) == epochs else math.nan


def with_best_error(trial: Trial, stored: TrialResult) -> TrialResult:
    """The result with the error of its best epoch, if its trial asks for it and it is not stored.

    Thus `best_error` can be added to a suite whose networks are trained, even without stored
    weights.
    """
    known = {record.identity for record in stored.measurements}
    wanted = [
        (evaluation, identity)
        for evaluation, identity in zip(trial.evaluate, trial.measurement_identities, strict=True)
        if evaluation.name == BEST_ERROR and not evaluation.source and identity not in known
    ]
    error = best_error(stored.history, trial.recipe.epochs) if wanted else math.nan
    if stored.status != "finished" or math.isnan(error):
        return stored
    records = [
        MeasurementRecord(
            identity=identity,
            name=evaluation.name,
            params=evaluation.params,
            metrics={BEST_ERROR: error},
            device=stored.device,
            environment=stored.environment,
        )
        for evaluation, identity in wanted
    ]
    return stored.model_copy(update={"measurements": (*stored.measurements, *records)})
