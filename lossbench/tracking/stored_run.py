"""Runs and experiments of MLflow as lookups need them, whether they are read from a
database or from a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run


@dataclass(frozen=True)
class StoredRun:
    """A run of MLflow without its metrics.

    Attributes:
        run_id: Id of the run.
        name: Name of the run.
        experiment_id: Id of its experiment.
        status: `RUNNING`, `FINISHED`, `FAILED`, or `KILLED`.
        end_time: Time of its end in milliseconds since 1970; None while it is running.
        artifact_uri: Location of its artifacts as recorded by MLflow.
        tags: Its tags.
        params: Its parameters. Those of a database are left out if no lookup needs them: if the
            run is of this version and used no code of plugins.
    """

    run_id: str
    name: str
    experiment_id: str
    status: str
    end_time: int | None
    artifact_uri: str
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredExperiment:
    """An experiment of MLflow.

    Attributes:
        experiment_id: Id of the experiment.
        name: Name of the experiment.
        lifecycle_stage: `active` or `deleted`.
        tags: Its tags.
    """

    experiment_id: str
    name: str
    lifecycle_stage: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class RunValues:
    """Parameters of a run, and the latest values of its metrics."""

    params: Mapping[str, str]
    metrics: Mapping[str, float]


def stored_run(run: Run) -> StoredRun:
    """The run of MLflow's client."""
    info = run.info
    return StoredRun(
        info.run_id,
        info.run_name or "",
        info.experiment_id,
        info.status,
        info.end_time,
        info.artifact_uri,
        run.data.tags,
        run.data.params,
    )


def stored_experiment(found: Experiment) -> StoredExperiment:
    """The experiment of MLflow's client."""
    return StoredExperiment(found.experiment_id, found.name, found.lifecycle_stage, found.tags)
