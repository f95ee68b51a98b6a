"""Recorder of Ray Tune's events, in MLflow and on the display, without blocking the trials."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

from ray import tune

from lossbench.errors.redaction import redacted
from lossbench.planning.measurements import result_for
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.runner.checkpoint_folders import drop_checkpoints
from lossbench.runner.log_writer import LogWriter
from lossbench.runner.outbox import Outbox, read_result
from lossbench.runner.progress import Display
from lossbench.tracking.store import Tracker

FLUSH_SEC = 10.0
"""Time between two writes of a running trial's epochs to MLflow; the rest follow at its end."""
MAX_WORKER_DEATHS = 100
"""Maximum number of restarts of a trial, with or without new checkpoints between them."""
FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
"""Error messages for a full disk or quota; some libraries do not keep the error number."""


class Recorder(tune.Callback):
    """Callback of Tune that records results and failures of the trials.

    It never raises an exception, because Tune would then mark every trial as failed. A result that
    cannot be logged stays in the outbox. Trials that are only measured keep their finished runs.

    Attributes:
        finished: Identities of the trials with a result.
        diverged: Identities of the trials with a result that diverged.
        failed: Error messages of the trials that failed, by identity; the results of those of
            which only an evaluation failed are recorded.
        paused: Partial results of the trials that are paused at a rung, by identity.
        data_problem: Problem of the data that a trial found; else empty.
        abort_reason: Reason why no trial can continue: no worker starts, or the disk is full; else
            empty.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        tracker: Tracker,
        outbox: Outbox,
        display: Display,
        work: Path,
        *,
        measure_only: bool = False,
    ) -> None:
        self._measure_only = measure_only
        self._trials = {trial.model_dump_json(): trial for trial in trials}
        self._outbox, self._display, self._work = outbox, display, work
        self._log = LogWriter(tracker, outbox, display)
        self._pending: dict[str, list[EpochRecord]] = {}
        self._flushed: dict[str, float] = {}
        self._delivered: dict[str, Path] = {}
        self._unmeasured: dict[str, str] = {}  # errors of evaluations of trained trials
        self._died: set[str] = set()
        self._deaths: Counter[str] = Counter()
        self.finished: set[str] = set()
        self.diverged: set[str] = set()
        self.failed: dict[str, str] = {}
        self.paused: dict[str, TrialResult] = {}
        self.data_problem = ""
        self.abort_reason = ""

    def __getstate__(self) -> dict[str, Any]:
        """Return no state: Tune pickles its callbacks for a restore, which is not used here."""
        return {}

    @property
    def begun(self) -> bool:
        """Whether any trial has started."""
        return bool(self._flushed)

    @property
    def unlogged(self) -> dict[str, Trial]:
        """Trials whose results are still in the outbox, by identity."""
        return self._log.unlogged

    def close(self) -> None:
        """Wait for the last write; mark trials without a result as killed."""
        for trial in self._trials.values():
            if trial.identity in self.paused:
                epochs = len(self.paused[trial.identity].history)
                self._stop(trial, "KILLED", f"paused after epoch {epochs}")
            elif trial.identity in self._flushed.keys() - self.finished - self.failed.keys():
                self._stop(trial, "KILLED", "interrupted")
        self._log.close()

    def trial_of(self, tune_trial: Any) -> Trial:
        """Trial of lossbench for a trial of Tune."""
        return self._trials[tune_trial.config["trial"]]

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        own = self.trial_of(trial)
        self._flushed[own.identity] = time.monotonic()
        self._pending[own.identity] = []
        self._display.started(own)
        if own.identity in self._died:  # noted here, because a stop prevents the restart
            self._died.remove(own.identity)
            self._display.note(
                f"{own.name}: its worker process died; "
                f"restart {self._deaths[own.identity]} of at most {MAX_WORKER_DEATHS}"
            )
        if not self._measure_only:
            self._log.begin(own)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        own = self.trial_of(trial)
        if "data_problem" in result:
            self.data_problem = result["data_problem"]
            self._fail(own, self.data_problem)
        if "failed" in result:
            self._fail(own, result["failed"])
        if result.get("unmeasured"):
            self._unmeasured[own.identity] = result["unmeasured"]
        if "delivered" in result:
            self._delivered[own.identity] = Path(result["delivered"])
        if "paused" in result:
            self.paused[own.identity] = TrialResult.model_validate_json(result["paused"])
        for note in result.get("notes", ()):
            self._display.note(f"{own.name}: {note}")
        records = [EpochRecord.model_validate(record) for record in result.get("epochs", ())]
        for record in records:
            self._display.epoch(own, record)
        self._log_epochs(own, records)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        own = self.trial_of(trial)
        if own.identity in self.failed:
            return
        if own.identity in self.paused:
            self._display.paused(own)
            return
        delivery = self._delivery(own, trial)
        if delivery is None:
            return
        try:
            with delivery as delivered:
                saved = self._outbox.save(own, Path(delivered))
            result = result_for(own, read_result(saved))
        except (OSError, ValueError) as error:  # a full disk, for instance
            self._fail(own, f"its result could not be saved: {error}")
            return
        drop_checkpoints(self._work, [own])
        self._log.log_result(own)
        if own.identity in self._unmeasured:
            self._note_failure(own, redacted(self._unmeasured[own.identity]))
            return
        self.finished.add(own.identity)
        if result.status == "diverged":
            self.diverged.add(own.identity)
        self._display.ended(own, result)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        identity = self.trial_of(trial).identity
        self._died.add(identity)
        self._deaths[identity] += 1

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        error_file = getattr(trial, "error_file", None)
        text = (
            Path(error_file).read_text(encoding="utf-8")
            if error_file and Path(error_file).exists()
            else ""
        )
        self._fail(self.trial_of(trial), text or "its worker process died")

    def _log_epochs(self, trial: Trial, records: list[EpochRecord]) -> None:
        """Log the pending epochs of a trial, at most once per `FLUSH_SEC`.

        If MLflow is too slow for all running trials, they are logged with the result.
        """
        pending = self._pending.setdefault(trial.identity, [])
        pending += records
        now = time.monotonic()
        due = now - self._flushed.get(trial.identity, now) >= FLUSH_SEC
        if pending and due and not self._log.is_behind:
            self._flushed[trial.identity] = now
            self._pending[trial.identity] = []
            self._log.log_epochs(trial, pending)

    def _delivery(self, trial: Trial, tune_trial: Any) -> AbstractContextManager[str] | None:
        """Folder with the files of a trial's result; None if there is no result."""
        folder = self._delivered.pop(trial.identity, None)
        if folder:
            return nullcontext(str(folder))
        if tune_trial.checkpoint:
            checkpoint: AbstractContextManager[str] = tune_trial.checkpoint.as_directory()
            return checkpoint
        return None

    def _fail(self, trial: Trial, text: str) -> None:
        text = redacted(text)
        last_line = text.strip().rpartition("\n")[2]
        if any(reason in last_line for reason in FULL):  # the other trials would fail, too
            self.abort_reason = f"the disk is full: make room in {self._fullest_folder()}"
            return
        self._note_failure(trial, text)
        self._stop(trial, "FAILED", text)

    def _note_failure(self, trial: Trial, text: str) -> None:
        """Write the log of a failed trial, and display the last line."""
        last_line = text.strip().rpartition("\n")[2]
        log = self._work / "logs" / f"{trial.identity}.log"
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(f"{trial.name}\n\n{text}\n", encoding="utf-8")
            place = f"log: {log}"
        except OSError as error:
            place = f"no log: {error.strerror}"
        self.failed[trial.identity] = last_line
        self._display.failed(trial, f"{last_line} ({place})")

    def _stop(self, trial: Trial, status: Literal["FAILED", "KILLED"], text: str) -> None:
        if not self._measure_only:
            self._log.stop(trial, status, text)

    def _fullest_folder(self) -> Path:
        folders = (self._work.absolute(), Path(tempfile.gettempdir()))
        return min(folders, key=lambda folder: shutil.disk_usage(folder).free)
