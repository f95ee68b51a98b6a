"""Names of the files of a trial's result: in a worker's folder, in MLflow, in an archive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lossbench.records import MeasurementRecord

RESULT = "result.json"
"""The result with its history and the metrics of all measurements."""
TRIAL = "trial.json"
"""Specification of the trial."""
WEIGHTS = "weights.pt"
"""Parameters of the trained model and its head."""
MEASUREMENTS = "measurements"
"""Folder of the arrays of the evaluations, with one folder per measurement."""


def array_file(identity: str, name: str) -> str:
    """Relative path of an array that an evaluation stored.

    Args:
        identity: Identity of the measurement.
        name: Name of the artifact, without `.npz`.
    """
    return f"{MEASUREMENTS}/{identity}/{name}.npz"


def array_files(measurements: Iterable[MeasurementRecord], name: str) -> Iterator[str]:
    """Relative paths at which the arrays of an artifact may be, the most likely first.

    Arrays of the training itself, and those that earlier versions stored, are in no folder.

    Args:
        measurements: Measurements of the trial.
        name: Name of the artifact, without `.npz`.
    """
    for record in measurements:
        if name in record.artifacts:
            yield array_file(record.identity, name)
    yield f"{name}.npz"
