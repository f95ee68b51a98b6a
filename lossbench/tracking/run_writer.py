"""Writer of the MLflow runs of trials: parameters, epochs, results, artifacts."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lossbench.planning.measurements import all_metrics, merged_result, result_for, with_own_last
from lossbench.planning.result_files import RESULT
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.suite.atomic_files import write_files
from lossbench.tracking import names
from lossbench.tracking.artifacts import write_folder, write_text
from lossbench.tracking.connection import locked
from lossbench.tracking.finished_runs import (
    FinishedRun,
    insert_finished_runs,
    new_artifact_folder,
)
from lossbench.tracking.location import Location
from lossbench.tracking.runs import Runs
from lossbench.tracking.stored_run import StoredRun, stored_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from lossbench.tracking.connection import GetClient

_METRICS_PER_CALL = 1000
_PARAMS_PER_CALL = 100
"""MLflow's limits; a call has at most 1000 values in all."""
_RUNS_PER_TRANSACTION = 100
Training = tuple[Trial, TrialResult, Iterable[tuple[str, bytes]]]
"""A trial, its result, and the names and contents of its artifacts."""


class RunWriter:
    """Writer of the runs of one table.

    Args:
        client: Returns MLflow's client.
        location: Location of the store.
        runs: Runs of the store.

    Attributes:
        experiment: Id of the experiment of the suite.
        parent: Id of the table's run.
        table: Identity of the table.
        label: Label of the table; empty while an archive is imported.
    """

    def __init__(self, client: GetClient, location: Location, runs: Runs) -> None:
        self._make_client, self._location, self._runs = client, location, runs
        self._begun: dict[str, str] = {}  # identity -> run id
        self.experiment = ""
        self.parent = ""
        self.table = ""
        self.label = ""

    @property
    def _client(self) -> MlflowClient:
        return self._make_client()

    @property
    def _table_tags(self) -> dict[str, str]:
        labels = {names.TABLES: names.with_label("", self.label)} if self.label else {}
        return {names.TABLE: self.table, names.PARENT: self.parent, **labels}

    def begin(self, trial: Trial) -> str:
        """Open the run of a training, or reopen one that was not finished; return its id.

        An aborted run with metrics is replaced by a new one, because its epochs would be logged
        twice. A run is not replaced if another machine may still be executing it.
        """
        tags = {
            **names.trial_tags(trial),
            **self._table_tags,
            names.OWNER: _owner(),
        }
        name = names.run_name(trial)
        identity = {names.IDENTITY: trial.identity}
        with locked(self._location):
            found = self._runs.find(self.experiment, identity, finished=False)
            if found and _is_aborted(found) and self._runs.values(found.run_id).metrics:
                self._client.delete_run(found.run_id)
                found = None
            run = found or self._runs.create(self.experiment, identity, tags, name)
        run_id = run.run_id
        self._begun[trial.identity] = run_id
        if found:
            self._client.update_run(run_id, status="RUNNING", name=name)
            self._client.log_batch(run_id, tags=names.as_tags(tags))
            if names.REASON in run.tags:  # why the run ended before
                self._client.delete_tag(run_id, names.REASON)
        # MLflow forbids changes of parameters: labels keep their first values
        known = self._runs.values(run_id).params if found else {}
        missing = names.as_params({k: v for k, v in names.params(trial).items() if k not in known})
        for start in range(0, len(missing), _PARAMS_PER_CALL):
            self._client.log_batch(run_id, params=missing[start : start + _PARAMS_PER_CALL])
        return run_id

    def is_begun(self, trial: Trial) -> bool:
        """Whether this process has opened the run of a trial and not finished it yet."""
        return trial.identity in self._begun

    def run_id(self, trial: Trial) -> str:
        """Id of the open run of a trial, which is opened if needed."""
        return self._begun.get(trial.identity) or self.begin(trial)

    def log_epochs(self, trial: Trial, records: Sequence[EpochRecord]) -> None:
        """Log epochs with their timestamps, so that logging an epoch again changes nothing."""
        points = [
            metric
            for record in records
            for metric in names.as_metrics(record.metrics, record.timestamp_ms, record.epoch)
        ]
        run_id = self.run_id(trial)
        for start in range(0, len(points), _METRICS_PER_CALL):
            self._client.log_batch(run_id, metrics=points[start : start + _METRICS_PER_CALL])

    def finish(self, trial: Trial, result: TrialResult, artifacts: Path) -> str:
        """Write the result of a training to its run; return the id of the run."""
        run_id = self.run_id(trial)
        self.log_epochs(trial, result.history)
        result = with_own_last(trial, result)
        self._write(run_id, trial, result, _final_values(result), artifacts, _ended_ms(result))
        self._begun.pop(trial.identity, None)
        return run_id

    def write_finished(self, trainings: Iterable[Training]) -> None:
        """Write new runs of finished trainings, for imports of many trainings."""
        database = self._location.database
        experiment = self._client.get_experiment(self.experiment)
        pending: dict[Path, FinishedRun] = {}
        for trial, imported, files in trainings:
            result = with_own_last(trial, imported)
            run, text = self._finished_run(trial, result), result.model_dump_json(indent=1)
            contents = [(name, content) for name, content in files if name != RESULT]
            contents.append((RESULT, text.encode()))
            folder = new_artifact_folder(database, experiment)
            if database is None or folder is None:
                self._write_with_client(run, contents)
                continue
            write_files(folder, contents)
            pending[folder] = run
            if len(pending) == _RUNS_PER_TRANSACTION:
                insert_finished_runs(database, experiment, pending)
                pending = {}
        if database is not None and pending:
            insert_finished_runs(database, experiment, pending)

    def _finished_run(self, trial: Trial, result: TrialResult) -> FinishedRun:
        tags = {
            **names.trial_tags(trial),
            **self._table_tags,
            **_result_tags(trial, result),
        }
        metrics = [
            metric
            for record in result.history
            for metric in names.as_metrics(record.metrics, record.timestamp_ms, record.epoch)
        ]
        metrics += names.as_metrics(_final_values(result), _ended_ms(result), step=0)
        params = names.as_params(names.params(trial))
        return FinishedRun(names.run_name(trial), params, names.as_tags(tags), metrics)

    def _write_with_client(self, new: FinishedRun, files: Iterable[tuple[str, bytes]]) -> None:
        tags = {tag.key: tag.value for tag in new.tags}
        run = stored_run(self._client.create_run(self.experiment, tags=tags, run_name=new.name))
        run_id = run.run_id
        for start in range(0, len(new.params), _PARAMS_PER_CALL):
            self._client.log_batch(run_id, params=new.params[start : start + _PARAMS_PER_CALL])
        for start in range(0, len(new.metrics), _METRICS_PER_CALL):
            self._client.log_batch(run_id, metrics=new.metrics[start : start + _METRICS_PER_CALL])
        with tempfile.TemporaryDirectory() as temporary:
            write_files(Path(temporary), files)
            write_folder(self._make_client, self._location, run, Path(temporary))
        self._client.set_terminated(run_id, "FINISHED")

    def add_measurements(
        self,
        run: StoredRun,
        before: TrialResult,
        trial: Trial,
        result: TrialResult,
        artifacts: Path,
    ) -> None:
        """Add measurements to the finished run of the same network.

        Args:
            run: The run.
            before: Its result, which may be one of an earlier version, without measurements.
            trial: The trial.
            result: The result with all measurements of the trial.
            artifacts: Folder with the artifacts to add.
        """
        known = {record.identity for record in before.measurements}
        new = [record for record in result.measurements if record.identity not in known]
        whole = merged_result([before, result]) if before.measurements else result
        whole = whole.model_copy(update={"weights_digest": result.weights_digest})
        whole, values = with_own_last(trial, whole), all_metrics(new)
        logged = self._runs.values(run.run_id).metrics
        replaced = any(logged.get(key, value) != value for key, value in values.items())
        # of two values with the same time, MLflow shows the greater one
        logged_ms = int(time.time() * 1000) if replaced else _ended_ms(whole)
        self._write(run.run_id, trial, whole, values, artifacts, logged_ms)

    def _write(
        self,
        run_id: str,
        trial: Trial,
        result: TrialResult,
        values: Mapping[str, float],
        artifacts: Path,
        timestamp_ms: int,
    ) -> None:
        """Write a result; the status is written last, so that a FINISHED run is complete."""
        # earlier versions had another identity
        tags = {names.IDENTITY: trial.identity, **_result_tags(trial, result)}
        self._client.log_batch(
            run_id,
            metrics=names.as_metrics(values, timestamp_ms, step=0),
            tags=names.as_tags(tags),
        )
        write_folder(self._make_client, self._location, self._run(run_id), artifacts)
        self.write_text(run_id, RESULT, result.model_dump_json(indent=1))
        self._client.set_terminated(run_id, "FINISHED")

    def write_text(self, run_id: str, name: str, text: str) -> None:
        """Store a text as an artifact of a run."""
        write_text(self._make_client, self._location, self._run(run_id), name, text)

    def _run(self, run_id: str) -> StoredRun:
        """A run of this process.

        Raises:
            TrackingError: It was deleted for good meanwhile.
        """
        run = self._runs.get(run_id)
        if run is None:
            raise self._location.error(f"run {run_id} was deleted while it was written")
        return run


def _final_values(result: TrialResult) -> dict[str, float]:
    """Values that are logged at step 0, so that MLflow draws them as bars, not as curves."""
    return {
        **result.metrics,
        "wall_time_sec": result.wall_time_sec,
        "peak_memory_mib": result.peak_memory_mib,
    }


def _result_tags(trial: Trial, result: TrialResult) -> dict[str, str]:
    shown = result_for(trial, result)
    tags = {
        f"{names.PREFIX}device": result.device,
        **names.environment_tags(result.environment),
        **names.status_tags(shown.status, shown.reason),
    }
    if result.measurements or not result.metrics:  # otherwise it is of an earlier version
        tags[names.MEASURED] = ", ".join(r.name for r in result.measurements) or "nothing"
    return tags


def _ended_ms(result: TrialResult) -> int:
    return result.history[-1].timestamp_ms if result.history else 0


def _owner() -> str:
    """Machine and folder; in one folder, only the process that has locked a trial executes it."""
    return f"{platform.node()}:{Path.cwd()}"


def _is_aborted(run: StoredRun) -> bool:
    ended = run.status in ("FAILED", "KILLED")
    return ended or run.tags.get(names.OWNER) == _owner()
