"""Tracker: one MLflow experiment per suite, one parent run per table, one child run per trial."""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lossbench.planning.look_record import LookRecord
from lossbench.planning.measurements import result_for
from lossbench.planning.plan import Plan
from lossbench.planning.result_files import RESULT, TRIAL, WEIGHTS, array_files
from lossbench.planning.search import SearchPoints
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TableSummary, TrialResult
from lossbench.suite.atomic_files import link_or_copy, write_files
from lossbench.tracking import names
from lossbench.tracking.artifacts import artifact_path, has_artifact, read_artifact, read_artifacts
from lossbench.tracking.connection import Opening, open_store, translate_store_errors
from lossbench.tracking.kept_plans import KeptPlans
from lossbench.tracking.location import Location, locate
from lossbench.tracking.lookup import StoredTraining, TrainingLookup
from lossbench.tracking.results import Arrays, ResultReader
from lossbench.tracking.run_writer import RunWriter, Training
from lossbench.tracking.runs import Runs
from lossbench.tracking.stored_run import StoredRun
from lossbench.tracking.table_members import TrialRuns, trial_runs
from lossbench.tracking.table_run import TableRuns

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Tracker:
    """Access to the trials in MLflow, by their identities.

    Every method raises TrackingError with a one-line message if the store fails. Only the driver
    uses a tracker; `begin`, `log_epochs`, `finish`, `adopt` and `stop` require `start_suite`
    before.

    Attributes:
        location: Location of the store.
        kept: What is stored with the runs of tables, to be kept before trials depend on it.
    """

    def __init__(self, location: Location, opening: Opening) -> None:
        self.location = location
        self._opening = opening
        self._runs = Runs(opening.client, location)
        self._reader = ResultReader(opening.client, location)
        self._writer = RunWriter(opening.client, location, self._runs)
        self.kept = KeptPlans(opening.client, location, self._runs, self._writer)
        self._tables = TableRuns(opening.client, location, self._runs)
        self._lookup = TrainingLookup(self._runs, self._reader, location)
        self._stored: dict[str, StoredTraining] = {}  # by identity
        self._results: dict[str, TrialResult] = {}  # by identity

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
        return self._opening.client()

    @translate_store_errors
    def results(self, trials: Iterable[Trial]) -> dict[str, TrialResult]:
        """Look up the results of trials, wherever in the store their networks were trained.

        A run without a readable result is skipped with a warning.

        Returns:
            Results by the identities of the trials, with the metrics of their evaluations; those
            that are not measured yet are in `unmeasured`.
        """
        if not self._opening.is_open:
            return {}  # the database is being created
        trials = tuple(trials)
        found = self._lookup.find(trials)
        self._stored |= found
        known = [trial for trial in trials if trial.identity in found]
        results = {t.identity: result_for(t, found[t.identity].result) for t in known}
        self._results |= results
        return results

    def other_seeds(self, trials: Sequence[Trial]) -> tuple[int, ...]:
        """Seeds other than those of some trials for which the same trials have stored results.

        Args:
            trials: Trials for which `results` was called.
        """
        cells = {(t.variant, t.row, t.holdout): t for t in trials}
        asked = {t.seed for t in trials}
        known = self._lookup.seeds
        seeds = {int(seed) for seed in known.values() if seed.isdecimal()} - asked
        return tuple(
            seed
            for seed in sorted(seeds)
            if any(
                known.keys() & {reseeded.identity, reseeded.earlier_identity}
                for trial in cells.values()
                for reseeded in [trial.with_seed(seed)]
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
        for params in self._lookup.other_code.values():
            counts.update({key for t in trials for key in names.changed_sources(t, params)})
        return {key.removeprefix(names.SOURCES): count for key, count in counts.items()}

    @translate_store_errors
    def search_points(self, suite: str) -> dict[str, SearchPoints]:
        """Look up the points that the searches of a suite proposed.

        Returns:
            The points by the identity of the search. An artifact that cannot be read is left out,
            with a warning.
        """
        if not self._opening.is_open:
            return {}  # the database is being created
        return self._reader.all_search_points(self._runs.tables(suite))

    def look_records(self, suite: str) -> dict[str, LookRecord]:
        """Look up the records of looks at tables of a suite, by their identities."""
        return self.kept.look_records(suite) if self._opening.is_open else {}

    @translate_store_errors
    def start_suite(
        self, plan: Plan, environment: Mapping[str, str], *, imported: bool = False
    ) -> None:
        """Open the suite's experiment and the table's parent run; create those that are missing.

        Args:
            plan: Plan that will be run.
            environment: Versions that affect the results; recorded as tags.
            imported: Whether the results to store are those of an archive.
        """
        self._opening.wait()  # the thread that creates the database needs the lock, too
        run, writer = self._tables.start(plan, environment, imported=imported), self._writer
        writer.experiment, writer.parent = run.experiment_id, run.run_id
        writer.table, writer.label = plan.table_identity, "" if imported else plan.label
        self.kept.write_pending()

    @translate_store_errors
    def begin(self, trial: Trial) -> None:
        """Open the run of a training, or reopen one that was not finished."""
        self._writer.begin(trial)

    @translate_store_errors
    def log_epochs(self, trial: Trial, records: Sequence[EpochRecord]) -> None:
        """Log epochs with their timestamps, so that logging an epoch again changes nothing."""
        self._writer.log_epochs(trial, records)

    @translate_store_errors
    def finish(self, trial: Trial, result: TrialResult, artifacts: Path) -> None:
        """Log a result with all its epochs; add it to the run of the same network if there is one.

        Args:
            trial: The trial.
            result: Result of the trial; also stored as `result.json`.
            artifacts: Folder with the artifacts, all of which are stored.
        """
        self._store(trial, result, artifacts)

    @translate_store_errors
    def is_elsewhere(self, suite: str, trials: Iterable[Trial]) -> bool:
        """Whether other suites have results or measurements of trials that this suite lacks.

        Args:
            suite: Name of the suite.
            trials: Trials for which `results` was called.
        """
        experiment = self._runs.experiment(suite)
        key = experiment.experiment_id if experiment else ""
        stored = [(t, self._stored[t.identity]) for t in trials if t.identity in self._stored]
        return not all(training.is_complete_in(key, trial) for trial, training in stored)

    @translate_store_errors
    def adopt(self, trials: Iterable[Trial]) -> dict[str, int]:
        """Copy results from other suites into this one, so that its table is complete.

        Weights are not copied; the run has a tag with the id of the run that it was copied from.

        Args:
            trials: Trials of this suite for which `results` was called.

        Returns:
            Number of the copied trials by the suite that they come from.
        """
        counts: Counter[str] = Counter()
        for trial in trials:
            stored = self._stored.get(trial.identity)
            if stored is None or stored.is_complete_in(self._writer.experiment, trial):
                continue
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                write_files(folder, self.files(trial))
                (folder / TRIAL).write_text(trial.model_dump_json(), encoding="utf-8")
                run_id = self._store(trial, stored.result, folder)
            own = self._writer.experiment
            origin = next(run for run in stored.runs if run.experiment_id != own)
            suite = origin.tags.get(names.SUITE, "")
            if run_id not in {run.run_id for run in stored.runs}:
                first = origin.tags.get(names.ORIGIN, origin.run_id)
                tags = {names.ORIGIN: first, names.ORIGIN_SUITE: suite}
                self._client.log_batch(run_id, tags=names.as_tags(tags))
            counts[suite] += 1
        return dict(counts)

    @translate_store_errors
    def stop(self, trial: Trial, status: Literal["FAILED", "KILLED"], message: str) -> None:
        """Close the run of a trial without a result."""
        self._runs.close(self._writer.run_id(trial), status, message)

    @translate_store_errors
    def finish_suite(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Close the parent run of the table, if it was opened."""
        if self._writer.parent:
            self._runs.close(self._writer.parent, status, "")

    def trial_runs(self, suite: str, trials: Iterable[Trial]) -> TrialRuns:
        """Finished runs of a suite, as of the last call of `results` with these trials."""
        known = [trial for trial in trials if trial.identity in self._stored]
        pairs = [(run, t) for t in known for run in self._stored[t.identity].runs]
        return trial_runs(self._runs.last_finished(suite), pairs)

    @translate_store_errors
    def log_table(
        self,
        plan: Plan,
        summary: TableSummary,
        report: tuple[Path, Sequence[Path]],
        trials: TrialRuns,
    ) -> None:
        """Show a report in the run of its table; see `TableRuns.log`."""
        self._tables.log(plan, summary, report, trials)

    @translate_store_errors
    def arrays(self, identity: str, name: str) -> Arrays | None:
        """Load an array artifact of a finished trial.

        Args:
            identity: Identity of the trial, for which `results` was called.
            name: Name of the artifact, without `.npz`.

        Returns:
            Arrays by name; None if the artifact is missing or cannot be read.
        """
        if identity not in self._stored:
            return None
        for file in array_files(self._results[identity].measurements, name):
            for run in self._stored[identity].runs:
                arrays = self._reader.arrays(run, file)
                if arrays is not None:
                    return arrays
        return None

    def stored_result(self, trial: Trial) -> TrialResult | None:
        """Result of a trial with all measurements, for which `results` was called."""
        stored = self._stored.get(trial.identity)
        return stored.result if stored else None

    def files(self, trial: Trial, *, weights: bool = False) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the files of a trial for which `results` was called.

        Args:
            trial: The trial.
            weights: Whether to include its weights, if they are stored.
        """
        files = self._files(trial, weights=weights)
        while (file := self._read_file(files)) is not None:
            yield file

    @translate_store_errors  # which a generator itself cannot have
    def _read_file(self, files: Iterator[tuple[str, bytes]]) -> tuple[str, bytes] | None:
        return next(files, None)

    def _files(self, trial: Trial, *, weights: bool) -> Iterator[tuple[str, bytes]]:
        written: set[str] = {RESULT, WEIGHTS}
        for run in self._stored[trial.identity].runs:  # the earliest run that has a file counts
            for name, content in read_artifacts(self._opening.client, self.location, run, written):
                written.add(name)
                yield name, content
        if weights and (holder := self._run_with_weights(trial)) is not None:
            content = read_artifact(self._opening.client, self.location, holder, WEIGHTS) or b""
            yield WEIGHTS, content

    @translate_store_errors
    def import_trainings(self, trainings: Iterable[Training]) -> None:
        """Store trainings of another store that this one lacks; requires `start_suite` before.

        Args:
            trainings: Trial, result, and names and contents of the artifacts of each.
        """
        try:
            self._writer.write_finished(trainings)
        except sqlite3.Error as error:
            raise self.location.error(str(error)) from error

    @translate_store_errors
    def has_weights(self, trial: Trial) -> bool:
        """Whether the weights of a trial are stored, for which `results` was called."""
        return self._run_with_weights(trial) is not None

    @translate_store_errors
    def copy_training(self, trial: Trial, folder: Path) -> None:
        """Copy the result and the weights of a trial with `has_weights` to a folder.

        A local file is linked, not copied, if the file system allows it.
        """
        run = self._run_with_weights(trial)
        assert run is not None
        folder.mkdir(parents=True, exist_ok=True)
        source = artifact_path(self.location, run, WEIGHTS)
        if source is not None:
            link_or_copy(source, folder / WEIGHTS)
        else:
            content = read_artifact(self._opening.client, self.location, run, WEIGHTS)
            (folder / WEIGHTS).write_bytes(content or b"")
        text = self._stored[trial.identity].result.model_dump_json()
        (folder / RESULT).write_text(text, encoding="utf-8")

    def _run_with_weights(self, trial: Trial) -> StoredRun | None:
        """Run that has the weights of a trial; a copied run does not, but names its origin."""
        runs = list(self._stored[trial.identity].runs)
        origins = [run.tags[names.ORIGIN] for run in runs if names.ORIGIN in run.tags]
        for origin in dict.fromkeys(origins):
            if origin not in {run.run_id for run in runs}:
                runs += self._existing([origin])
        return next(
            (r for r in runs if has_artifact(self._opening.client, self.location, r, WEIGHTS)), None
        )

    def _store(self, trial: Trial, result: TrialResult, artifacts: Path) -> str:
        """Write a result to the run of the same network, or to a new one; return the run's id."""
        known = None if self._writer.is_begun(trial) else self._same_network(trial, result)
        if known is None:
            return self._writer.finish(trial, result, artifacts)
        run, before = known
        self._writer.add_measurements(run, before, trial, result, artifacts)
        return run.run_id

    def _same_network(
        self, trial: Trial, result: TrialResult
    ) -> tuple[StoredRun, TrialResult] | None:
        """Finished run in this suite with the network of a result, and its stored result."""
        experiment = self._writer.experiment
        stored = self._stored.get(trial.identity)
        ids = [run.run_id for run in stored.runs] if stored else []
        listed = self._existing(ids)  # they may have changed meanwhile
        tagged = self._runs.find(experiment, {names.IDENTITY: trial.identity}, finished=True)
        for run in [*listed, *([tagged] if tagged else [])]:
            if run.experiment_id != experiment:
                continue
            before = self._reader.result(run)
            if before and before.weights_digest in ("", result.weights_digest):
                return run, before
        return None

    def _existing(self, run_ids: Iterable[str]) -> list[StoredRun]:
        """The runs as they are now, without those that were deleted for good."""
        return [run for run in map(self._runs.get, run_ids) if run]
