"""Training and measuring a share of a suite's trials in this process, one after the other.

It needs neither Ray nor MLflow: each finished trial is an archive in the output folder, from which
`lossbench report --from` and `lossbench import` read. Several processes, on one machine or on many
with a shared folder, each take a share.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lossbench.archive.folder import ArchiveFolder
from lossbench.archive.reading import Archive
from lossbench.archive.store import ArchiveStore, joint_plan
from lossbench.assembly.user_components import exit_as_error
from lossbench.errors import DataError, RequestError
from lossbench.errors.redaction import redacted
from lossbench.planning.measurements import result_for, with_measurements
from lossbench.planning.plan import Plan
from lossbench.planning.result_files import WEIGHTS
from lossbench.planning.selection import PlanWithResults, load_plan_with_results
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, Results, TrialResult
from lossbench.runner.environment import device_name, environment
from lossbench.runner.shards import Shard
from lossbench.runner.trial import measure_trial, run_trial
from lossbench.runner.trial_locks import TrialLocks
from lossbench.runner.user_evaluation import EvaluationError
from lossbench.suite.atomic_files import write_files
from lossbench.training.checkpoints import Checkpoints
from lossbench.training.trained_weights import read_weights, weights_digest

WORK = ".lossbench"
"""Name of the folder for checkpoints, locks and logs, inside the output folder."""


class _OutOfTime(Exception):
    """The time is over; the training has just been saved."""


@dataclass
class WorkOutcome:
    """Outcome of the work on a share.

    Attributes:
        trials: Number of known trials of this share.
        finished: Number of trials of this share that were trained or measured now.
        left: Number of trials of this share that are not finished.
        locked: Number of these on which another process works.
        others: Number of trials of other shares that are not finished.
        failed: Error messages of the trials that failed, by the name of the trial.
        conflict: Reason why the archives in the folder cannot be reported together, if there is
            one.
        selects: Whether more trials may follow from results on the held-out part.
    """

    trials: int = 0
    finished: int = 0
    left: int = 0
    locked: int = 0
    others: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    conflict: str = ""
    selects: bool = False


class ShardedWork:
    """Work on a share of a suite's trials.

    Args:
        plan: Checked plan.
        shard: Share of the trials.
        output: Folder of the archives, which exists.
        data_root: Folder of the prepared data sets.
        device: `cpu` or `cuda`.
        deadline: Time on the monotonic clock at which the work ends, after the current epoch.
        checkpoint_sec: Minimum time between two checkpoints of a trial.
        log: Prints one line of progress.
        confirm_retraining: Called with trials of this share that have to be trained again to be
            measured, because their weights are not stored, and with the results by identity. It
            raises an error if they should not be.

    Raises:
        RequestError: The suite needs several processes at once.
    """

    def __init__(
        self,
        plan: Plan,
        shard: Shard,
        output: Path,
        *,
        data_root: Path,
        device: str,
        deadline: float = math.inf,
        checkpoint_sec: float = 10.0,
        log: Callable[[str], None] = lambda line: None,
        confirm_retraining: Callable[[Sequence[Trial], Results], None] = lambda trials, results: (
            None
        ),
    ) -> None:
        self._plan, self._shard, self._work = plan, shard, output / WORK
        self._data_root, self._device, self._deadline = data_root, device, deadline
        self._checkpoint_sec, self._log = checkpoint_sec, log
        self._confirm_retraining = confirm_retraining
        self._folder = ArchiveFolder(output, plan.suite.suite)
        self._locks = TrialLocks(self._work)
        self._loaded: tuple[ArchiveStore, PlanWithResults] | None = None
        self._tried: set[str] = set()
        self._confirmed: set[str] = set()
        self._outcome = WorkOutcome()
        suite = plan.suite
        if suite.resources.workers > 1:
            raise RequestError(
                f"resources.workers: {suite.resources.workers}: 'work' trains in one process; use "
                "'run', or --set resources.workers=1"
            )
        if suite.selection and suite.selection.stop_early:
            raise RequestError(
                "selection.stop_early: 'work' cannot compare rows during their training; use "
                "'run', or --set selection.stop_early=false"
            )

    def run(self) -> WorkOutcome:
        """Train and measure the unfinished trials of the share; each is saved when it is finished.

        Trials that depend on results, such as those of chosen rows, follow when all shares have
        finished the others.

        Raises:
            RequestError: An archive in the folder cannot be used, or the data set has changed.
        """
        store, found = self._load()
        while time.monotonic() < self._deadline:
            self._confirm(store, found)
            trial = self._next(found)
            if trial is None:
                break
            self._tried.add(trial.identity)
            if self._locks.acquire([trial]):
                try:
                    store, found = self._load()  # another process may have finished it meanwhile
                    if not found.is_complete(trial):
                        self._attempt(trial, store, found)
                except _OutOfTime:
                    break
                finally:
                    self._locks.release()
            store, found = self._load()
        self._finish(found)
        return self._outcome

    def _load(self) -> tuple[ArchiveStore, PlanWithResults]:
        """The results in the folder, which other processes write to, and the plan with them."""
        store = self._folder.read()
        if self._loaded is None or self._loaded[0] is not store:
            self._loaded = store, load_plan_with_results(self._plan, store)
        return self._loaded

    def _own(self, found: PlanWithResults) -> list[Trial]:
        """The trials of this share, as far as they are known."""
        first, *final = known_stages(found)
        own = self._shard.of(first, self._plan.trials)
        own |= {identity for trials in final for identity in self._shard.of(trials, trials)}
        return [t for trials in (first, *final) for t in trials if t.identity in own]

    def _next(self, found: PlanWithResults) -> Trial | None:
        missing = (trial for trial in self._own(found) if not found.is_complete(trial))
        return next((trial for trial in missing if trial.identity not in self._tried), None)

    def _confirm(self, store: ArchiveStore, found: PlanWithResults) -> None:
        weightless = [
            trial
            for trial in self._own(found)
            if trial.identity in found.results
            and not found.is_complete(trial)
            and not _has_weights(store.holder(trial.identity), trial)
            and trial.identity not in self._confirmed | self._tried
        ]
        if weightless:
            self._confirmed |= {trial.identity for trial in weightless}
            self._confirm_retraining(weightless, found.results)

    def _attempt(self, trial: Trial, store: ArchiveStore, found: PlanWithResults) -> None:
        """Work on a trial; a failure is logged, and the other trials go on."""
        own = self._own(found)
        number = 1 + sum(map(found.is_complete, own))
        label = f"{number}/{len(own)} {trial.name}"
        started = time.monotonic()
        try:
            with exit_as_error():
                verb, result = self._work_on(trial, store.holder(trial.identity), found.plan)
        except (_OutOfTime, DataError):  # with other data, every trial would fail
            raise
        except Exception as error:
            self._log(f"{label}: failed: {self._write_log(trial, error)}")
            self._outcome.failed[trial.name] = redacted(str(error)).partition("\n")[0]
            return
        self._outcome.finished += 1
        took = time.monotonic() - started
        self._log(f"{label}: {verb} in {took:.0f} s: {self._text(result_for(trial, result))}")

    def _text(self, result: TrialResult) -> str:
        if result.status == "diverged":
            return f"diverged: {result.reason}"
        shown = [metric for metric in self._plan.metrics if metric.name in result.metrics]
        return ", ".join(
            f"{metric.label} {result.metrics[metric.name]:.4g}" for metric in shown[:2]
        )

    def _work_on(self, trial: Trial, stored: Archive | None, plan: Plan) -> tuple[str, TrialResult]:
        """Measure a trial that is trained already, else train it; save its archive."""
        with tempfile.TemporaryDirectory() as temporary:
            artifacts = Path(temporary) / "artifacts"
            artifacts.mkdir()
            if _has_weights(stored, trial):
                assert stored is not None
                training = Path(temporary) / "training"
                write_files(training, stored.files(trial.identity))
                _check_weights(training / WEIGHTS, stored, trial)
                verb = "measured"
                result = measure_trial(
                    trial,
                    data_root=self._data_root,
                    stored=training,
                    artifacts=artifacts,
                    device=self._device,
                )
                keeps_weights = True
            else:
                verb, result = "trained", self._train(trial, artifacts)
                keeps_weights = trial.keep_weights
            if stored is not None:
                before = stored.results[trial.identity]
                if before.weights_digest == result.weights_digest:  # not trained differently
                    known = {record.identity for record in result.measurements}
                    others = [r for r in before.measurements if r.identity not in known]
                    result = with_measurements(result, [*result.measurements, *others])
                    names = {str(p.relative_to(artifacts)) for p in artifacts.rglob("*")}
                    files = stored.files(trial.identity)
                    write_files(artifacts, ((n, c) for n, c in files if n not in names))
            self._folder.save(trial, result, _files(artifacts, weights=keeps_weights), plan)
        shutil.rmtree(self._checkpoint_folder(trial), ignore_errors=True)
        if result.failures:
            raise EvaluationError(result.failures)
        return verb, result

    def _train(self, trial: Trial, artifacts: Path) -> TrialResult:
        versions = {**environment(trial), "device": device_name(self._device)}
        checkpoints = Checkpoints(self._checkpoint_folder(trial), versions, self._checkpoint_sec)
        checkpoints.deadline = self._deadline

        def on_epoch(record: EpochRecord | None) -> None:
            for note in checkpoints.notes:
                self._log(f"{trial.name}: {note}")
            checkpoints.notes.clear()
            # the deadline may have passed just after it was decided whether to save this epoch
            saved = record is not None and record.epoch == checkpoints.last_epoch
            is_last = record is not None and record.epoch == trial.recipe.epochs
            if time.monotonic() >= self._deadline and saved and not is_last:
                raise _OutOfTime

        return run_trial(
            trial,
            data_root=self._data_root,
            artifacts=artifacts,
            device=self._device,
            on_epoch=on_epoch,
            checkpoints=checkpoints,
        )

    def _finish(self, found: PlanWithResults) -> None:
        """Count what is left, and bring archives up to date that were saved with earlier plans."""
        outcome, own = self._outcome, self._own(found)
        known = [trial for trials in known_stages(found) for trial in trials]
        missing = [trial for trial in known if not found.is_complete(trial)]
        mine = [trial for trial in own if not found.is_complete(trial)]
        outcome.selects = found.plan.suite.selection is not None and len(known_stages(found)) == 1
        outcome.trials, outcome.left = len(own), len(mine)
        outcome.others = len(missing) - len(mine)
        outcome.locked = len(mine) - len(self._locks.acquire(mine))
        self._locks.release()
        outdated = self._folder.outdated(filter(found.is_complete, known), found.plan)
        if locked := self._locks.acquire(outdated):
            self._folder.read()  # another process may have replaced them meanwhile
            for trial in self._folder.outdated(locked, found.plan):
                self._folder.update(trial, found.plan)
            self._locks.release()
        self._folder.read()
        if self._folder.archives and not missing:
            try:
                joint_plan(self._folder.archives)
            except RequestError as error:
                outcome.conflict = str(error)

    def _checkpoint_folder(self, trial: Trial) -> Path:
        return self._work / "checkpoints" / trial.identity

    def _write_log(self, trial: Trial, error: Exception) -> str:
        """Write the traceback of a failed trial to a file; return its description."""
        path = self._work / "logs" / f"{trial.identity}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = redacted("".join(traceback.format_exception(error)))
        path.write_text(f"{trial.name}\n\n{text}", encoding="utf-8")
        return f"{text.strip().rpartition(chr(10))[2]} (log: {path})"


def known_stages(found: PlanWithResults) -> list[Sequence[Trial]]:
    """The trials of each stage that can be run by now.

    Rows are chosen when all trials on the held-out part have results.
    """
    first, *final = (stage.trials for stage in found.stages)
    return [first, *final] if all(map(found.is_complete, first)) else [first]


def _has_weights(stored: Archive | None, trial: Trial) -> bool:
    return stored is not None and stored.has_weights(trial.identity)


def _check_weights(file: Path, stored: Archive, trial: Trial) -> None:
    """Raise a RequestError that names the archive if its weights cannot be used."""
    try:
        digest = weights_digest(read_weights(file.read_bytes()))
        problem = "" if digest == stored.results[trial.identity].weights_digest else "other weights"
    except ValueError as error:
        problem = str(error)
    if problem:
        raise RequestError(f"{stored.path}: its weights cannot be used: {problem}")


def _files(folder: Path, *, weights: bool) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (weights or path.name != WEIGHTS):
            yield str(path.relative_to(folder)), path.read_bytes()
