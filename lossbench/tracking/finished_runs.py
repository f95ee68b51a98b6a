"""Insertion of finished runs into a database, many in one transaction.

MLflow's client needs six transactions and some fifty statements for a run. That is little for a
training, but a minute and more for an import of a thousand. The rows are those that MLflow's
client writes (a test compares them); only databases with its schema are opened.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lossbench.tracking.artifacts import artifact_root

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Metric, Param, RunTag

_TIMEOUT_SEC = 60
_RUN = {
    "source_type": "UNKNOWN",
    "source_name": "",
    "entry_point_name": "",
    "user_id": "unknown",
    "status": "FINISHED",
    "source_version": "",
    "lifecycle_stage": "active",
}


@dataclass(frozen=True)
class FinishedRun:
    """Content of a run.

    Attributes:
        name: Name of the run.
        params: Its parameters.
        tags: Its tags.
        metrics: Its metrics with their times and steps, all of them finite.
    """

    name: str
    params: Sequence[Param]
    tags: Sequence[RunTag]
    metrics: Sequence[Metric]


def new_artifact_folder(database: Path | None, experiment: Experiment) -> Path | None:
    """Folder for the artifacts of a new run, `.../RUN/artifacts`.

    Returns:
        The folder, which does not exist yet; None if the experiment is on a server or keeps its
        artifacts elsewhere.
    """
    if database is None:
        return None
    root = artifact_root(database) / experiment.name
    if experiment.artifact_location != str(root):
        return None
    return root / uuid.uuid4().hex / "artifacts"


def insert_finished_runs(
    database: Path, experiment: Experiment, runs: Mapping[Path, FinishedRun]
) -> None:
    """Insert finished runs, all of them or none.

    Args:
        database: The database.
        experiment: Experiment of the runs.
        runs: Folder from `new_artifact_folder` with the artifacts -> content of the run.

    Raises:
        sqlite3.Error: They were not inserted.
    """
    with closing(sqlite3.connect(database, timeout=_TIMEOUT_SEC)) as db, db:
        for folder, run in runs.items():
            _insert_run(db, experiment, folder, run)


def _insert_run(
    db: sqlite3.Connection, experiment: Experiment, folder: Path, run: FinishedRun
) -> None:
    run_id, now_ms = folder.parent.name, time.time_ns() // 1_000_000
    columns = {
        **_RUN,
        "run_uuid": run_id,
        "name": run.name,
        "start_time": now_ms,
        "end_time": now_ms,
        "artifact_uri": str(folder),
        "experiment_id": int(experiment.experiment_id),
    }
    latest: dict[str, Metric] = {}
    for metric in run.metrics:
        known = latest.get(metric.key)
        if known is None or _order(metric) > _order(known):
            latest[metric.key] = metric
    # keys may be equal after characters were replaced that MLflow does not allow
    tags = {**{tag.key: tag.value for tag in run.tags}, "mlflow.runName": run.name}
    params = {param.key: param.value for param in run.params}
    _insert(db, "runs", list(columns), [tuple(columns.values())])
    _insert(db, "tags", _PAIR, [(key, value, run_id) for key, value in tags.items()])
    _insert(db, "params", _PAIR, [(key, value, run_id) for key, value in params.items()])
    for table, metrics in (("metrics", run.metrics), ("latest_metrics", latest.values())):
        rows = [(m.key, m.value, m.timestamp, m.step, 0, run_id) for m in metrics]
        _insert(db, table, _METRIC, list(dict.fromkeys(rows)))


_PAIR = ("key", "value", "run_uuid")
_METRIC = ("key", "value", "timestamp", "step", "is_nan", "run_uuid")


def _insert(
    db: sqlite3.Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    names, places = ", ".join(f'"{c}"' for c in columns), ", ".join("?" * len(columns))
    db.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", rows)


def _order(metric: Metric) -> tuple[int, int, float]:
    """Order by which MLflow chooses the latest value of a metric."""
    return metric.step, metric.timestamp, metric.value
