"""The tracker: one MLflow experiment a suite, one parent run a table, one child run a trial."""

from __future__ import annotations

import io
import logging
import platform
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run

from lossbench.planning.divergence import FORMER_REASON, collapse, guessing
from lossbench.planning.plan import Plan, file_label
from lossbench.planning.search import SearchPoints
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, Status, TrialResult
from lossbench.suite.dump import suite_yaml
from lossbench.tracking import names
from lossbench.tracking.answers import one_line
from lossbench.tracking.artifacts import artifact_root, read_artifact, write_folder, write_text
from lossbench.tracking.connection import locked, open_store, translate_store_errors
from lossbench.tracking.location import EXPERIMENT_KIND, Location, locate

_LOG = logging.getLogger(__name__)
_PAGE = 1000  # runs a search; also MLflow's limit of metrics a call
_PARAMS_A_CALL = 100
_DOWNLOADS = 8
_RESULT = "result.json"


class Tracker:
    """Remembers trials in MLflow, and finds them again by identity.

    Every method raises TrackingError with one line where the store fails. Only the driver uses a
    tracker; `begin`, `log_epochs`, `finish` and `stop` come after `start_suite`.

    Attributes:
        location: Where it writes.
    """

    def __init__(self, location: Location, opening: Future[MlflowClient]) -> None:
        self.location = location
        self._opening = opening
        self._parent = ""
        self._table = ""
        self._experiment = ""
        self._begun: dict[str, str] = {}  # identity -> run id
        self._finished: dict[str, Run] = {}  # by identity
        self._stored: dict[str, str] = {}  # identity -> seed, of all that `results` came across
        self._kept_points: dict[str, SearchPoints] = {}  # by the identity of the search
        self._unkept_points: dict[str, SearchPoints] = {}
        self._of_other_code: dict[str, Mapping[str, str]] = {}  # identity -> parameters

    @classmethod
    def open(cls, uri: str | None, *, create: bool = True) -> Tracker:
        """Connect to a store, and check at once that it can be used.

        Args:
            uri: `sqlite:///FILE` or `http(s)://HOST`; None stands for MLFLOW_TRACKING_URI, and
                without that for `mlflow.db` in the working folder.
            create: Make a missing database, beside what the caller does next. Without it
                nothing is written.

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
        """Look up the trials that finished or diverged.

        A run without a readable result counts as not done, with a warning. Of two runs of one
        trial the earliest counts.

        Returns:
            The results by the trials' identities.
        """
        if not self._opening.done():
            return {}  # of a database that is being made
        trials = tuple(trials)
        wanted = {trial.earlier_identity: trial.identity for trial in trials}
        wanted |= {trial.identity: trial.identity for trial in trials}
        suites = {trial.suite for trial in trials}
        experiments = [self._client.get_experiment_by_name(name) for name in suites]
        found: dict[str, list[Run]] = {}
        for run in self._search(
            [e.experiment_id for e in experiments if e], "attributes.status = 'FINISHED'"
        ):
            identity = run.data.tags.get(names.IDENTITY)
            if identity:
                self._stored[identity] = run.data.tags.get(names.SEED, "")
            if identity in wanted:
                found.setdefault(wanted[identity], []).append(run)
            elif identity and any(key.startswith(names.SOURCES) for key in run.data.params):
                self._of_other_code[identity] = run.data.params
        workers = 1 if self.location.database else _DOWNLOADS
        with ThreadPoolExecutor(workers) as pool:
            loaded = pool.map(self._first_result, found, found.values())
            results = dict(zip(found, loaded, strict=True))
        return {identity: result for identity, result in results.items() if result}

    def other_seeds(self, trials: Sequence[Trial]) -> tuple[int, ...]:
        """Seeds with stored results of the same trials, from the runs that `results` came across.

        Args:
            trials: Those that `results` was called with.
        """
        cells = {(t.variant, t.row, t.holdout): t for t in trials}
        asked = {t.seed for t in trials}
        seeds = {int(seed) for seed in self._stored.values() if seed.isdecimal()} - asked
        return tuple(
            seed
            for seed in sorted(seeds)
            if any(
                self._stored.keys() & {reseeded.identity, reseeded.earlier_identity}
                for trial in cells.values()
                for reseeded in [trial.model_copy(update={"seed": seed})]
            )
        )

    def changed_code(self, trials: Sequence[Trial]) -> dict[str, int]:
        """`loss my_loss` -> number of stored trials that differ from one of these in its code only.

        Args:
            trials: Some without a result, of those that `results` was called with.
        """
        counts: Counter[str] = Counter()
        for params in self._of_other_code.values():
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
            return {}  # of a database that is being made
        experiment = self._client.get_experiment_by_name(suite)
        tables = [experiment.experiment_id] if experiment else []
        found: dict[str, SearchPoints] = {}
        for run in self._search(tables, _tag(names.KIND, "table")):
            for tag in run.data.tags:
                identity = tag.removeprefix(names.SEARCH)
                if identity == tag or (points := self._read_points(run, identity)) is None:
                    continue
                if identity not in found or len(points.points) > len(found[identity].points):
                    found[identity] = points
        return found

    @translate_store_errors
    def keep_search_points(self, points: Mapping[str, SearchPoints]) -> None:
        """Keep the points that searches proposed with the table's run, as soon as it is open.

        Args:
            points: Points by the identity of the search.
        """
        self._unkept_points |= {k: p for k, p in points.items() if self._kept_points.get(k) != p}
        if not self._parent:
            return
        for identity, proposed in self._unkept_points.items():
            self._keep(self._parent, _points_file(identity), proposed.model_dump_json(indent=1))
            tag = {f"{names.SEARCH}{identity}": f"{proposed.loss}, {proposed.variant}"}
            self._client.log_batch(self._parent, tags=names.as_tags(tag))
        self._kept_points |= self._unkept_points
        self._unkept_points = {}

    @translate_store_errors
    def start_suite(self, plan: Plan, environment: Mapping[str, str]) -> None:
        """Open the suite's experiment and the table's parent run, new or found again.

        Args:
            plan: What will be run.
            environment: Versions of what decides the numbers; kept as tags.
        """
        self._opening.result()  # whoever makes the database needs the lock, too
        suite = plan.suite
        table = {names.KIND: "table", names.TABLE: plan.table_identity}
        with locked(self.location):
            self._experiment = self._open_experiment(suite.suite)
            run = self._find(table) or self._create(table, table, suite.title or suite.suite)
        self._parent, self._table = run.info.run_id, plan.table_identity
        tags = {
            f"{names.PREFIX}suite": suite.suite,
            **names.status_tags("running"),
            names.NOTE: f"The table of suite `{suite.suite}`: its trials are the runs below.",
            **names.environment_tags(environment),
        }
        self._client.log_batch(self._parent, tags=names.as_tags(tags))
        file = f"{file_label('suite', plan.changes)}.yaml"  # the whole suite keeps its own
        self._keep(self._parent, file, suite_yaml(plan.expanded_suite))
        self._client.update_run(self._parent, status="RUNNING")
        self.keep_search_points({})

    @translate_store_errors
    def begin(self, trial: Trial) -> None:
        """Open the trial's run; one that was begun before is taken up again.

        If it was broken off, a new one takes its place, or its epochs would stand twice. One
        that another machine seems to be at is left alone.
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
            found = self._find(identity)
            if found and found.data.metrics and _broken_off(found):
                self._client.delete_run(found.info.run_id)
                found = None
            run = found or self._create(identity, tags, name)
        run_id = run.info.run_id
        self._begun[trial.identity] = run_id
        if found:
            self._client.update_run(run_id, status="RUNNING", name=name)
            self._client.log_batch(run_id, tags=names.as_tags(tags))
            if names.REASON in run.data.tags:  # of its last end
                self._client.delete_tag(run_id, names.REASON)
        # a parameter cannot be changed: labels, which are no part of the identity, keep the first
        missing = names.as_params(
            {k: v for k, v in names.params(trial).items() if k not in run.data.params}
        )
        for start in range(0, len(missing), _PARAMS_A_CALL):
            self._client.log_batch(run_id, params=missing[start : start + _PARAMS_A_CALL])

    @translate_store_errors
    def log_epochs(self, trial: Trial, records: Sequence[EpochRecord]) -> None:
        """Log epochs with their own times, so that logging one again changes nothing."""
        points = [
            metric
            for record in records
            for metric in names.as_metrics(record.metrics, record.timestamp_ms, record.epoch)
        ]
        run_id = self._run_id(trial)
        for start in range(0, len(points), _PAGE):
            self._client.log_batch(run_id, metrics=points[start : start + _PAGE])

    @translate_store_errors
    def finish(self, trial: Trial, result: TrialResult, artifacts: Path) -> None:
        """Log the result with all its epochs; the status comes last, so a FINISHED run is complete.

        Args:
            trial: The trial.
            result: What it left behind; also kept whole as `result.json`.
            artifacts: Folder of its arrays; every file in it is kept.
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
        self._keep(run_id, _RESULT, result.model_dump_json(indent=1))
        self._client.set_terminated(run_id, "FINISHED")

    @translate_store_errors
    def stop(self, trial: Trial, status: Literal["FAILED", "KILLED"], message: str) -> None:
        """Close the run of a trial that has no result, with the reason."""
        self._close(self._run_id(trial), status, message)

    @translate_store_errors
    def finish_suite(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Close the table's parent run, if it was opened."""
        if self._parent:
            self._close(self._parent, status, "")

    @translate_store_errors
    def arrays(self, identity: str, name: str) -> Mapping[str, np.ndarray[Any, Any]] | None:
        """Load an array artifact of a finished trial.

        Args:
            identity: Of the trial.
            name: Of the artifact, without `.npz`.

        Returns:
            Its arrays by name; None if the trial has no such artifact, or it cannot be read.
        """
        run = self._finished.get(identity)
        if run is None:
            experiments = [e.experiment_id for e in self._client.search_experiments()]
            tagged = f"attributes.status = 'FINISHED' AND {_tag(names.IDENTITY, identity)}"
            run = next(self._search(experiments, tagged), None)
        return self._arrays(run, name) if run else None

    def _open_experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            database = self.location.database
            folder = str(artifact_root(database) / name) if database else None
            tags = {EXPERIMENT_KIND: "custom_model_development"}
            return str(self._client.create_experiment(name, artifact_location=folder, tags=tags))
        if found.lifecycle_stage != "active":
            raise self.location.error(
                f"the experiment {name!r} was deleted in MLflow; bring it back with 'mlflow "
                f"experiments restore -x {found.experiment_id}', or rename the suite"
            )
        return str(found.experiment_id)

    def _search(self, experiments: list[str], condition: str) -> Iterator[Run]:
        """Runs, the earliest first."""
        token = None
        while experiments:
            page = self._client.search_runs(
                experiments,
                condition,
                max_results=_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            if not (token := page.token):
                return

    def _find(self, tags: Mapping[str, str]) -> Run | None:
        condition = " AND ".join(_tag(key, value) for key, value in tags.items())
        return next(self._search([self._experiment], condition), None)

    def _create(self, key: Mapping[str, str], tags: dict[str, str], name: str) -> Run:
        """A run, unless on a server another machine's came before it: then that one.

        Args:
            key: Tags that no two runs have.
            tags: All tags.
            name: Of the run.
        """
        run = self._client.create_run(self._experiment, tags=tags, run_name=name)
        if self.location.database is not None:  # it is locked
            return run
        first = self._find(key) or run
        if first.info.run_id != run.info.run_id:
            self._client.delete_run(run.info.run_id)
        return first

    def _run_id(self, trial: Trial) -> str:
        if trial.identity not in self._begun:
            self.begin(trial)
        return self._begun[trial.identity]

    def _close(self, run_id: str, status: str, reason: str) -> None:
        tags = names.status_tags(status.lower(), reason)
        self._client.log_batch(run_id, tags=names.as_tags(tags))
        self._client.set_terminated(run_id, status)

    def _first_result(self, wanted: str, runs: list[Run]) -> TrialResult | None:
        for run in runs:
            identity = run.data.tags[names.IDENTITY]
            content = self._read(run, _RESULT)
            try:
                if content is None:
                    raise ValueError("it is missing")
                result = TrialResult.model_validate_json(content)
                if result.identity != identity:
                    raise ValueError(f"it is of trial {result.identity}")
            except ValueError as error:  # pydantic's is one
                where = f"{run.info.run_name} (run {run.info.run_id})"
                _LOG.warning("%s of %s cannot be used: %s", _RESULT, where, one_line(error))
            else:
                self._finished[wanted] = run
                judged = self._judged_anew(run, result)
                return judged.model_copy(update={"identity": wanted})
        return None

    def _read_points(self, run: Run, identity: str) -> SearchPoints | None:
        content = self._read(run, _points_file(identity))
        try:
            if content is None:
                raise ValueError("it is missing")
            return SearchPoints.model_validate_json(content)
        except ValueError as error:  # pydantic's is one
            where = f"{run.info.run_name} (run {run.info.run_id})"
            file = _points_file(identity)
            _LOG.warning("%s of %s cannot be used: %s", file, where, one_line(error))
            return None

    def _arrays(self, run: Run, name: str) -> Mapping[str, np.ndarray[Any, Any]] | None:
        content = self._read(run, f"{name}.npz")
        if content is None:
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return dict(arrays)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            identity = run.data.tags[names.IDENTITY]
            _LOG.warning("%s.npz of trial %s is broken: %s", name, identity, one_line(error))
            return None

    def _judged_anew(self, run: Run, result: TrialResult) -> TrialResult:
        """A result of an earlier version, which called every trial near chance diverged."""
        if result.status != "diverged" or result.reason != FORMER_REASON:
            return result
        arrays = self._arrays(run, "predictions")
        if arrays is None:
            return result
        predicted, labels = arrays["predicted"], arrays["labels"]
        # the number of classes is not stored; without test images of the last ones it is larger
        answers = predicted, labels, int(max(predicted.max(), labels.max())) + 1
        reason = collapse(*answers)
        status: Status = "diverged" if reason else "finished"
        judged = {"status": status, "reason": reason or guessing(*answers)}
        return result.model_copy(update=judged)

    def _keep(self, run_id: str, name: str, text: str) -> None:
        write_text(self._client, self.location, run_id, name, text)

    def _read(self, run: Run, name: str) -> bytes | None:
        return read_artifact(self._client, self.location, run, name)


def _points_file(identity: str) -> str:
    return f"search-{identity}.json"


def _owner() -> str:
    """Whoever holds a trial's claim in this folder is the only one at it."""
    return f"{platform.node()}:{Path.cwd()}"


def _broken_off(run: Run) -> bool:
    ended = run.info.status in ("FAILED", "KILLED")
    return ended or run.data.tags.get(names.OWNER) == _owner()


def _tag(key: str, value: str) -> str:
    return f"tags.`{key}` = '{value}'"
