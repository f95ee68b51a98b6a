"""Made-up records of the measurements of a trial."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lossbench.planning.trial import Trial
from lossbench.records import MeasurementRecord


def measurements_of(
    trial: Trial, metrics: Mapping[str, float], *, lacking: Collection[str] = ()
) -> tuple[MeasurementRecord, ...]:
    """One record per evaluation of a trial, which together have these metrics.

    Args:
        trial: The trial.
        metrics: Values by name. A metric belongs to the evaluation that lists it or has its name,
            else to the first one.
        lacking: Names of evaluations that are not measured.
    """
    owners = {evaluation.name: evaluation for evaluation in reversed(trial.evaluate)}
    owners |= {name: e for e in trial.evaluate for name in e.metrics}
    return tuple(
        MeasurementRecord(
            identity=identity,
            name=evaluation.name,
            params=evaluation.params,
            metrics={
                name: value
                for name, value in metrics.items()
                if owners.get(name, trial.evaluate[0]) is evaluation
            },
            device="cpu",
            environment={"torch": "2.13.0"},
        )
        for evaluation, identity in zip(trial.evaluate, trial.measurement_identities, strict=True)
        if evaluation.name not in lacking
    )
