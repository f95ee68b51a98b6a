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

from lossbench.archive.reading import Archive
from lossbench.archive.store import ArchiveStore
from lossbench.archive.writing import writing_archive
from lossbench.errors import DataError, RequestError
from lossbench.errors.redaction import redacted
from lossbench.planning.measurements import result_for
from lossbench.planning.plan import Plan
from lossbench.planning.result_files import WEIGHTS
from lossbench.planning.selection import PlanWithResults, load_plan_with_results
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.runner.environment import device_name, environment
from lossbench.runner.trial import measure_trial, run_trial
from lossbench.runner.trial_locks import TrialLocks
from lossbench.runner.user_evaluation import EvaluationError
from lossbench.suite.atomic_files import write_files
from lossbench.training.checkpoints import Checkpoints

WORK = ".lossbench"
"""Name of the folder for checkpoints and locks, inside the output folder."""


@dataclass(frozen=True)
class Shard:
    """Share of the trials: every `count`-th one, starting with the `number`-th.

    Attributes:
        number: Number of the share, from 1.
        count: Number of shares.
    """

    number: int = 1
    count: int = 1

    def of(self, trials: Sequence[Trial]) -> list[Trial]:
        """The trials of this share, in order."""
        return list(trials[self.number - 1 :: self.count])


def read_shard(text: str) -> Shard:
    """Read the share of `--shard`, as in `3/8`.

    Raises:
        RequestError: It is not of this form, or out of range.
    """
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise RequestError(f"--shard {text}: should be NUMBER/COUNT, as in 3/8")
    shard = Shard(int(number), int(count))
    if not 1 <= shard.number <= shard.count:
        raise RequestError(f"--shard {text}: NUMBER should be from 1 to {shard.count}")
    return shard


class _OutOfTime(Exception):
    """The time is over; the training has just been saved."""


@dataclass
class WorkOutcome:
    """Outcome of the work on a share.

    Attributes:
        finished: Number of trials of this share that were trained or measured now.
        left: Number of trials of this share that are not finished.
        others: Number of trials of other shares that are not finished.
        failed: Error messages of the trials that failed, by the name of the trial.
    """

    finished: int = 0
    left: int = 0
    others: int = 0
    failed: dict[str, str] = field(default_factory=dict)


class ShardedWork:
    """Work on a share of a suite's trials.

    Args:
        plan: Checked plan.
        shard: Share of the trials.
        output: Folder of the archives.
        data_root: Folder of the prepared data sets.
        device: `cpu` or `cuda`.
        deadline: Time on the monotonic clock at which the work ends, after the current epoch.
        checkpoint_sec: Minimum time between two checkpoints of a trial.
        log: Prints one line of progress.

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
    ) -> None:
        self._plan, self._shard, self._output = plan, shard, output
        self._data_root, self._device, self._deadline = data_root, device, deadline
        self._checkpoint_sec, self._log = checkpoint_sec, log
        self._archives: dict[tuple[Path, int], Archive] = {}
        self._locks = TrialLocks(output / WORK)
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
        """
        outcome = WorkOutcome()
        tried: set[str] = set()
        while True:
            found, store = self._load()
            own = {t.identity for stage in found.stages for t in self._shard.of(stage.trials)}
            missing = [trial for trial in found.trials if not found.is_complete(trial)]
            mine = [trial for trial in missing if trial.identity in own]
            outcome.left, outcome.others = len(mine), len(missing) - len(mine)
            waiting = [trial for trial in mine if trial.identity not in tried]
            locked = self._locks.acquire(waiting[:1])
            tried |= {trial.identity for trial in waiting[:1]}
            if not waiting or time.monotonic() >= self._deadline:
                return outcome
            for trial in locked:
                done = f"{len(own) - len(mine) + 1}/{len(own)}"
                try:
                    self._work_on(trial, found, store, done)
                    outcome.finished += 1
                except _OutOfTime:
                    return outcome
                except DataError:  # the other trials would fail, too
                    raise
                except Exception as error:
                    self._log(f"{done} {trial.name}: failed: {self._write_log(trial, error)}")
                    outcome.failed[trial.name] = redacted(str(error)).partition("\n")[0]
                finally:
                    self._locks.release()

    def _load(self) -> tuple[PlanWithResults, ArchiveStore]:
        """The plan with the results in the output folder, which other processes write to."""
        archives = {}
        for path in sorted(self._output.glob(f"{self._plan.suite.suite}-*.zip")):
            key = path, path.stat().st_mtime_ns
            archives[key] = self._archives.get(key) or Archive(path)
        self._archives = archives
        store = ArchiveStore(list(archives.values()))
        return load_plan_with_results(self._plan, store), store

    def _work_on(
        self, trial: Trial, found: PlanWithResults, store: ArchiveStore, done: str
    ) -> None:
        started = time.monotonic()
        stored = store.holder(trial.identity)
        with tempfile.TemporaryDirectory() as temporary:
            artifacts = Path(temporary) / "artifacts"
            artifacts.mkdir()
            if stored is not None and stored.has_weights(trial.identity):
                verb = "measured"
                training = Path(temporary) / "training"
                write_files(training, stored.files(trial.identity))
                shutil.copytree(training, artifacts, dirs_exist_ok=True)
                result = measure_trial(
                    trial,
                    data_root=self._data_root,
                    stored=training,
                    artifacts=artifacts,
                    device=self._device,
                )
            else:
                verb, result = "trained", self._train(trial, artifacts)
            self._save(trial, result, artifacts, found)
        shutil.rmtree(self._checkpoint_folder(trial), ignore_errors=True)
        if result.failures:
            raise EvaluationError(result.failures)
        shown = result_for(trial, result)
        values = ", ".join(
            f"{metric.label} {shown.metrics[metric.name]:.4g}"
            for metric in self._plan.metrics[:2]
            if metric.name in shown.metrics
        )
        text = f"diverged: {shown.reason}" if shown.status == "diverged" else values
        took = time.monotonic() - started
        self._log(f"{done} {trial.name}: {verb} in {took:.0f} s: {text}")

    def _train(self, trial: Trial, artifacts: Path) -> TrialResult:
        versions = {**environment(trial), "device": device_name(self._device)}
        checkpoints = Checkpoints(self._checkpoint_folder(trial), versions, self._checkpoint_sec)
        checkpoints.deadline = self._deadline

        def on_epoch(record: EpochRecord | None) -> None:
            for note in checkpoints.notes:
                self._log(f"{trial.name}: {note}")
            checkpoints.notes.clear()
            is_last = record is not None and record.epoch == trial.recipe.epochs
            if time.monotonic() >= self._deadline and not is_last:
                raise _OutOfTime

        return run_trial(
            trial,
            data_root=self._data_root,
            artifacts=artifacts,
            device=self._device,
            on_epoch=on_epoch,
            checkpoints=checkpoints,
        )

    def _save(
        self, trial: Trial, result: TrialResult, artifacts: Path, found: PlanWithResults
    ) -> None:
        path = self._output / f"{trial.suite}-{trial.identity}.zip"
        with writing_archive(path, trial.suite) as archive:
            archive.add_training(trial, result, _read_files(artifacts, weights=trial.keep_weights))
            archive.finish(found.plan, found.plan.search_points)

    def _checkpoint_folder(self, trial: Trial) -> Path:
        return self._output / WORK / "checkpoints" / trial.identity

    def _write_log(self, trial: Trial, error: Exception) -> str:
        """Write the traceback of a failed trial to a file; return its description."""
        path = self._output / WORK / "logs" / f"{trial.identity}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = redacted("".join(traceback.format_exception(error)))
        path.write_text(f"{trial.name}\n\n{text}", encoding="utf-8")
        return f"{text.strip().rpartition(chr(10))[2]} (log: {path})"


def _read_files(folder: Path, *, weights: bool) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (weights or path.name != WEIGHTS):
            yield str(path.relative_to(folder)), path.read_bytes()
