"""Measurements of a trained network: which are stored, which are missing, what they amount to.

A training is identified by `Trial.identity`, a measurement by the training and one evaluation
(`PlannedEvaluation.identity`). So an evaluation that is added later needs no new training.
"""

from __future__ import annotations

from collections.abc import Iterable

from lossbench.planning.best_epoch import with_best_error
from lossbench.planning.trial import PlannedEvaluation, Trial
from lossbench.records import MeasurementRecord, TrialResult


def result_for(trial: Trial, stored: TrialResult) -> TrialResult:
    """The result that a trial asks for: the metrics of its own evaluations.

    Args:
        trial: The trial.
        stored: Result of its training with all stored measurements.

    Returns:
        Result with the trial's measurements and metrics, and the names of the evaluations that are
        not measured yet. It counts as diverged if one of the measurements was not finite.
    """
    if stored.status != "finished" and not stored.measurements:
        return stored.model_copy(update={"identity": trial.identity})
    stored = with_best_error(trial, stored)
    by_identity = {record.identity: record for record in stored.measurements}
    own = [by_identity[i] for i in trial.measurement_identities if i in by_identity]
    result = stored.model_copy(
        update={
            "identity": trial.identity,
            "measurements": tuple(own),
            "metrics": all_metrics(own),
            "unmeasured": tuple(
                evaluation.name for evaluation in missing_evaluations(trial, stored)
            ),
        }
    )
    divergence = next((record.divergence for record in own if record.divergence), "")
    if stored.status == "finished" and divergence:
        update = {"status": "diverged", "reason": divergence, "metrics": {}, "unmeasured": ()}
        result = result.model_copy(update=update)
    return result


def missing_evaluations(trial: Trial, stored: TrialResult) -> list[PlannedEvaluation]:
    """Evaluations of a trial that are not stored; empty if the training diverged or was pruned."""
    if stored.status != "finished":
        return []
    known = {record.identity for record in stored.measurements}
    pairs = zip(trial.evaluate, trial.measurement_identities, strict=True)
    return [evaluation for evaluation, identity in pairs if identity not in known]


def merged_result(results: Iterable[TrialResult]) -> TrialResult:
    """The first of several results of the same network, with the measurements of all of them."""
    listed = list(results)
    if len(listed) == 1:
        return listed[0]
    records: dict[str, MeasurementRecord] = {}
    for result in listed:
        for record in result.measurements:
            records.setdefault(record.identity, record)
    return with_measurements(listed[0], records.values())


def with_own_last(trial: Trial, result: TrialResult) -> TrialResult:
    """The result with a trial's measurements last, so that `metrics` has their values.

    Measurements with other parameters or other code may have metrics of the same names.
    """
    if not result.measurements:
        return result
    places = {identity: i for i, identity in enumerate(trial.measurement_identities)}
    records = sorted(result.measurements, key=lambda record: places.get(record.identity, -1))
    return with_measurements(result, records)


def with_measurements(
    result: TrialResult, measurements: Iterable[MeasurementRecord]
) -> TrialResult:
    """The result with these measurements and their metrics."""
    records = tuple(measurements)
    update = {"measurements": records, "metrics": all_metrics(records)}
    return result.model_copy(update=update)


def all_metrics(records: Iterable[MeasurementRecord]) -> dict[str, float]:
    """Values of several measurements by the names of their metrics."""
    return {name: value for record in records for name, value in record.metrics.items()}
