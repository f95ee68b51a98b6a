"""Tracker: one MLflow experiment per suite, one parent run per table, one child run per trial."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient
from mlflow.entities import Run

from lossbench.planning.plan import Plan, file_label
from lossbench.planning.search import SearchPoints
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.suite.dump import suite_yaml
from lossbench.tracking import names
from lossbench.tracking.artifacts import write_folder, write_text
from lossbench.tracking.connection import locked, open_store, translate_store_errors
from lossbench.tracking.location import Location, locate
from lossbench.tracking.results import RESULT, Arrays, ResultReader, points_file
from lossbench.tracking.runs import Runs

_METRICS_PER_CALL = 1000
_PARAMS_PER_CALL = 100
"""MLflow's limits."""


class Tracker:
    """Access to the trials in MLflow, by their identities.

    Every method raises TrackingError with a one-line message if the store fails. Only the driver
    uses a tracker; `begin`, `log_epochs`, `finish` and `stop` require `start_suite` before.

    Attributes:
        location: Location of the store.
    """

    def __init__(self, location: Location, opening: Future[MlflowClient]) -> None:
        self.location = location
        self._opening = opening
        self._runs = Runs(opening.result, location)
        self._reader = ResultReader(opening.result, location)
        self._parent = ""
        self._table = ""
        self._experiment = ""
        self._begun: dict[str, str] = {}  # identity -> run id
        self._finished: dict[str, Run] = {}  # by identity
        self._seeds_by_identity: dict[str, str] = {}  # of all runs that `results` has read
        self._logged_points: dict[str, SearchPoints] = {}  # by the identity of the search
        self._pending_points: dict[str, SearchPoints] = {}
        self._params_with_other_code: dict[str, Mapping[str, str]] = {}  # identity -> parameters

    @classmethod
    def open(cls, uri: str | None, *, create: bool = True) -> Tracker:
        """Connect to a store, after checking that it can be used.

        Args:
            uri: `sqlite:///FILE` or `http(s)://HOST`; None: MLFLOW_TRACKING_URI, or else
                `mlflow.db` in the working directory.
            create: Whether to create a missing database, in the background. If not, nothing is
                written.

        Raises:
            TrackingError: The store cannot be used, or there is none and `create` is off.
        """
        location = locate(uri)
        return cls(location, open_store(location, create=create))

    @property
    def _client(self) -> MlflowClient:
        return self._opening.result()

    @translate_store_errors
    def results(self, trials: Iterable[Trial]) -> dict[str, TrialResult]:
        """Look up the results of trials.

        A run without a readable result is skipped with a warning. If a trial has several runs, the
        earliest is used.

        Returns:
            Results by the identities of the trials.
        """
        if not self._opening.done():
            return {}  # the database is being created
        trials = tuple(trials)
        wanted = {trial.earlier_identity: trial.identity for trial in trials}
        wanted |= {trial.identity: trial.identity for trial in trials}
        found: dict[str, list[Run]] = {}
        for run in self._runs.finished({trial.suite for trial in trials}):
            identity = run.data.tags.get(names.IDENTITY)
            if identity:
                self._seeds_by_identity[identity] = run.data.tags.get(names.SEED, "")
            if identity in wanted:
                found.setdefault(wanted[identity], []).append(run)
            elif identity and any(key.startswith(names.SOURCES) for key in run.data.params):
                self._params_with_other_code[identity] = run.data.params
        read = self._reader.first_results(found)
        self._finished |= {identity: run for identity, (run, _) in read.items()}
        return {identity: result for identity, (_, result) in read.items()}

    def other_seeds(self, trials: Sequence[Trial]) -> tuple[int, ...]:
        """Seeds other than those of some trials for which the same trials have stored results.

        Args:
            trials: Trials for which `results` was called.
        """
        cells = {(t.variant, t.row, t.holdout): t for t in trials}
        asked = {t.seed for t in trials}
        seeds = {int(seed) for seed in self._seeds_by_identity.values() if seed.isdecimal()} - asked
        return tuple(
            seed
            for seed in sorted(seeds)
            if any(
                self._seeds_by_identity.keys() & {reseeded.identity, reseeded.earlier_identity}
                for trial in cells.values()
                for reseeded in [trial.model_copy(update={"seed": seed})]
            )
        )

    def changed_code(self, trials: Sequence[Trial]) -> dict[str, int]:
        """Components whose code has changed since trials were stored.

        Args:
            trials: Trials without a result, among those for which `results` was called.

        Returns:
            Number of stored trials that differ from one of these only in the code of a component,
            by the name of the component, as in `loss my_loss`.
        """
        counts: Counter[str] = Counter()
        for params in self._params_with_other_code.values():
            counts.update({key for t in trials for key in names.changed_sources(t, params)})
        return {key.removeprefix(names.SOURCES): count for key, count in counts.items()}

    @translate_store_errors
    def search_points(self, suite: str) -> dict[str, SearchPoints]:
        """Look up the points that the searches of a suite proposed.

        Returns:
            The points by the identity of the search. An artifact that cannot be read is left out,
            with a warning.
        """
        if not self._opening.done():
            return {}  # the database is being created
        found: dict[str, SearchPoints] = {}
        for run in self._runs.tables(suite):
            for tag in run.data.tags:
                identity = tag.removeprefix(names.SEARCH)
                if identity == tag or (points := self._reader.search_points(run, identity)) is None:
                    continue
                if identity not in found or len(points.points) > len(found[identity].points):
                    found[identity] = points
        return found

    @translate_store_errors
    def keep_search_points(self, points: Mapping[str, SearchPoints]) -> None:
        """Store the proposed points with the run of the table, as soon as that run exists.

        Args:
            points: Points by the identity of the search.
        """
        self._pending_points |= {k: p for k, p in points.items() if self._logged_points.get(k) != p}
        if not self._parent:
            return
        for identity, proposed in self._pending_points.items():
            text = proposed.model_dump_json(indent=1)
            self._write_text(self._parent, points_file(identity), text)
            tag = {f"{names.SEARCH}{identity}": f"{proposed.loss}, {proposed.variant}"}
            self._client.log_batch(self._parent, tags=names.as_tags(tag))
        self._logged_points |= self._pending_points
        self._pending_points = {}

    @translate_store_errors
    def start_suite(self, plan: Plan, environment: Mapping[str, str]) -> None:
        """Open the suite's experiment and the table's parent run; create those that are missing.

        Args:
            plan: Plan that will be run.
            environment: Versions that affect the results; recorded as tags.
        """
        self._opening.result()  # the thread that creates the database needs the lock, too
        suite = plan.suite
        table = {names.KIND: "table", names.TABLE: plan.table_identity}
        with locked(self.location):
            self._experiment = self._runs.open_experiment(suite.suite)
            run = self._runs.find(self._experiment, table)
            if run is None:
                title = suite.title or suite.suite
                run = self._runs.create(self._experiment, table, table, title)
        self._parent, self._table = run.info.run_id, plan.table_identity
        tags = {
            f"{names.PREFIX}suite": suite.suite,
            **names.status_tags("running"),
            names.NOTE: f"Table of suite `{suite.suite}`; the runs below are its trials.",
            **names.environment_tags(environment),
        }
        self._client.log_batch(self._parent, tags=names.as_tags(tags))
        file = f"{file_label('suite', plan.changes)}.yaml"  # another name if changed
        self._write_text(self._parent, file, suite_yaml(plan.expanded_suite))
        self._client.update_run(self._parent, status="RUNNING")
        self.keep_search_points({})

    @translate_store_errors
    def begin(self, trial: Trial) -> None:
        """Open the run of a trial, or reopen an existing one.

        An aborted run with metrics is replaced by a new one, because its epochs would be logged
        twice. A run is not replaced if another machine may still be executing it.
        """
        tags = {
            **names.trial_tags(trial),
            names.TABLE: self._table,
            names.PARENT: self._parent,
            names.OWNER: _owner(),
        }
        name = names.run_name(trial)
        identity = {names.IDENTITY: trial.identity}
        with locked(self.location):
            found = self._runs.find(self._experiment, identity)
            if found and found.data.metrics and _is_aborted(found):
                self._client.delete_run(found.info.run_id)
                found = None
            run = found or self._runs.create(self._experiment, identity, tags, name)
        run_id = run.info.run_id
        self._begun[trial.identity] = run_id
        if found:
            self._client.update_run(run_id, status="RUNNING", name=name)
            self._client.log_batch(run_id, tags=names.as_tags(tags))
            if names.REASON in run.data.tags:  # why the run ended before
                self._client.delete_tag(run_id, names.REASON)
        # MLflow forbids changes of parameters: labels keep their first values
        missing = names.as_params(
            {k: v for k, v in names.params(trial).items() if k not in run.data.params}
        )
        for start in range(0, len(missing), _PARAMS_PER_CALL):
            self._client.log_batch(run_id, params=missing[start : start + _PARAMS_PER_CALL])

    @translate_store_errors
    def log_epochs(self, trial: Trial, records: Sequence[EpochRecord]) -> None:
        """Log epochs with their timestamps, so that logging an epoch again changes nothing."""
        points = [
            metric
            for record in records
            for metric in names.as_metrics(record.metrics, record.timestamp_ms, record.epoch)
        ]
        run_id = self._run_id(trial)
        for start in range(0, len(points), _METRICS_PER_CALL):
            self._client.log_batch(run_id, metrics=points[start : start + _METRICS_PER_CALL])

    @translate_store_errors
    def finish(self, trial: Trial, result: TrialResult, artifacts: Path) -> None:
        """Log a result with all its epochs.

        The status is written last, so that a FINISHED run is complete.

        Args:
            trial: The trial.
            result: Result of the trial; also stored as `result.json`.
            artifacts: Folder with the artifacts, all of which are stored.
        """
        run_id = self._run_id(trial)
        self.log_epochs(trial, result.history)
        values = {
            **result.metrics,
            "wall_time_sec": result.wall_time_sec,
            "peak_memory_mib": result.peak_memory_mib,
        }
        ended_ms = result.history[-1].timestamp_ms if result.history else 0
        tags = {
            **names.status_tags(result.status, result.reason),
            f"{names.PREFIX}device": result.device,
            **names.environment_tags(result.environment),
        }
        self._client.log_batch(
            run_id,
            metrics=names.as_metrics(values, ended_ms, step=0),  # drawn as bars, not as curves
            tags=names.as_tags(tags),
        )
        write_folder(self._client, self.location, run_id, artifacts)
        self._write_text(run_id, RESULT, result.model_dump_json(indent=1))
        self._client.set_terminated(run_id, "FINISHED")

    @translate_store_errors
    def stop(self, trial: Trial, status: Literal["FAILED", "KILLED"], message: str) -> None:
        """Close the run of a trial without a result."""
        self._runs.close(self._run_id(trial), status, message)

    @translate_store_errors
    def finish_suite(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Close the parent run of the table, if it was opened."""
        if self._parent:
            self._runs.close(self._parent, status, "")

    @translate_store_errors
    def arrays(self, identity: str, name: str) -> Arrays | None:
        """Load an array artifact of a finished trial.

        Args:
            identity: Identity of the trial.
            name: Name of the artifact, without `.npz`.

        Returns:
            Arrays by name; None if the artifact is missing or cannot be read.
        """
        run = self._finished.get(identity)
        if run is None:
            run = self._runs.finished_with_tag(names.IDENTITY, identity)
        return self._reader.arrays(run, name) if run else None

    def _run_id(self, trial: Trial) -> str:
        if trial.identity not in self._begun:
            self.begin(trial)
        return self._begun[trial.identity]

    def _write_text(self, run_id: str, name: str, text: str) -> None:
        write_text(self._client, self.location, run_id, name, text)


def _owner() -> str:
    """Machine and folder; in one folder, only the process that has locked a trial executes it."""
    return f"{platform.node()}:{Path.cwd()}"


def _is_aborted(run: Run) -> bool:
    ended = run.info.status in ("FAILED", "KILLED")
    return ended or run.data.tags.get(names.OWNER) == _owner()
