"""From Ray Tune's events to MLflow and the display, without holding up the trials."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ray import tune

from lossbench.errors import redacted
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord
from lossbench.runner.checkpoints import drop_checkpoints
from lossbench.runner.outbox import Spool, log_kept, read_result
from lossbench.runner.progress import Display
from lossbench.tracking.store import Tracker

FLUSH_SEC = 10.0
"""How often the epochs of a running trial go to MLflow; the rest comes at its end."""
FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
"""Text of an error where a disk, or a user's share of it, is full: not all libraries keep the
number."""


class Recorder(tune.Callback):
    """Tune's callback. MLflow is written by one thread of its own, in order.

    Nothing raises into Tune, which would mark every trial as failed: what cannot be logged
    stays in the spool.

    Attributes:
        finished: Identities of the trials that left a result.
        diverged: Those of them that diverged.
        failed: Identity -> message.
        paused: Epochs of the trials that wait at a rung of early stopping, by identity.
        refused: What is wrong with the data, if a trial found that; else empty.
        unlogged: Trials whose result is still in the spool, by identity.
        stuck: Why no trial can go on: no worker starts, or the disk is full; else empty.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        tracker: Tracker,
        spool: Spool,
        display: Display,
        work: Path,
    ) -> None:
        self._trials = {trial.model_dump_json(): trial for trial in trials}
        self._tracker, self._spool = tracker, spool
        self._display, self._work = display, work
        self._writer = ThreadPoolExecutor(1, "mlflow")
        self._away = False
        self._pending: dict[str, list[EpochRecord]] = {}
        self._flushed: dict[str, float] = {}
        self.paused: dict[str, tuple[EpochRecord, ...]] = {}
        self.finished: set[str] = set()
        self.diverged: set[str] = set()
        self.failed: dict[str, str] = {}
        self.refused = ""
        self.stuck = ""
        self.unlogged: dict[str, Trial] = {}
        self._delivered: dict[str, Path] = {}
        self._died: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore, which is not used here."""
        return {}

    def close(self) -> None:
        """Wait for the last write; mark trials that were under way as killed."""
        for trial in self._trials.values():
            if trial.identity in self.paused:
                reason = f"paused after epoch {len(self.paused[trial.identity])}"
                self._write(self._tracker.stop, trial, "KILLED", reason)
            elif trial.identity in self._flushed.keys() - self.finished - self.failed.keys():
                self._write(self._tracker.stop, trial, "KILLED", "interrupted")
        self._writer.submit(self._log_waiting)
        self._writer.shutdown(wait=True)

    @property
    def begun(self) -> bool:
        """Whether any trial has started."""
        return bool(self._flushed)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        mine = self.trial_of(trial)
        self._flushed[mine.identity] = time.monotonic()
        self._pending[mine.identity] = []
        self._display.started(mine)
        if mine.identity in self._died:  # not before: where all is being stopped it does not start
            self._died.remove(mine.identity)
            self._display.note(f"{mine.name}: its worker died; it is started again")
        self._write(self._tracker.begin, mine)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        mine = self.trial_of(trial)
        if "refused" in result:
            self.refused = result["refused"]
            self._fail(mine, self.refused)
        if "failed" in result:
            self._fail(mine, result["failed"])
        if "delivered" in result:
            self._delivered[mine.identity] = Path(result["delivered"])
        for note in result.get("notes", ()):
            self._display.note(f"{mine.name}: {note}")
        records = [EpochRecord.model_validate(record) for record in result.get("epochs", ())]
        for record in records:
            self._display.epoch(mine, record)
        pending = self._pending.setdefault(mine.identity, [])
        pending += records
        if "paused" in result:
            history = tuple(EpochRecord.model_validate(record) for record in result["paused"])
            self.paused[mine.identity] = history
        now = time.monotonic()
        if pending and now - self._flushed.get(mine.identity, now) >= FLUSH_SEC:
            self._flushed[mine.identity] = now
            self._pending[mine.identity] = []
            self._write(self._tracker.log_epochs, mine, pending)

    def trial_of(self, trial: Any) -> Trial:
        """What a Tune trial trains."""
        return self._trials[trial.config["trial"]]

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        mine = self.trial_of(trial)
        if mine.identity in self.failed:
            return
        if mine.identity in self.paused:
            self._display.paused(mine)
            return
        delivery = self._delivery(mine, trial)
        if delivery is None:
            return
        try:
            with delivery as delivered:
                kept = self._spool.keep(mine, Path(delivered))
            result = read_result(kept)
        except (OSError, ValueError) as error:  # a full disk, say
            self._fail(mine, f"its result could not be kept: {error}")
            return
        drop_checkpoints(self._work, [mine])
        self.finished.add(mine.identity)
        if result.status == "diverged":
            self.diverged.add(mine.identity)
        self._display.ended(mine, result)
        self._writer.submit(self._log_result, mine)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._died.add(self.trial_of(trial).identity)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        error_file = getattr(trial, "error_file", None)
        text = (
            Path(error_file).read_text(encoding="utf-8")
            if error_file and Path(error_file).exists()
            else ""
        )
        self._fail(self.trial_of(trial), text or "its worker died")

    def _delivery(self, trial: Trial, told: Any) -> AbstractContextManager[str] | None:
        """The folder with what a trial left; None if it left nothing."""
        there = self._delivered.pop(trial.identity, None)
        if there:
            return nullcontext(str(there))
        if told.checkpoint:
            checkpoint: AbstractContextManager[str] = told.checkpoint.as_directory()
            return checkpoint
        return None

    def _fail(self, trial: Trial, text: str) -> None:
        text = redacted(text)
        last_line = text.strip().rpartition("\n")[2]
        if any(reason in last_line for reason in FULL):  # the other trials would meet it, too
            self.stuck = f"the disk is full: make room in {self._fullest_folder()}"
            return
        log = self._work / "logs" / f"{trial.identity}.log"
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(f"{trial.name}\n\n{text}\n", encoding="utf-8")
            place = f"log: {log}"
        except OSError as error:
            place = f"no log: {error.strerror}"
        self.failed[trial.identity] = last_line
        self._display.failed(trial, f"{last_line} ({place})")
        self._write(self._tracker.stop, trial, "FAILED", text)

    def _fullest_folder(self) -> Path:
        folders = (self._work.absolute(), Path(tempfile.gettempdir()))
        return min(folders, key=lambda folder: shutil.disk_usage(folder).free)

    def _log_result(self, trial: Trial) -> None:
        self.unlogged[trial.identity] = trial
        error = self._log_waiting()
        if error:
            self._display.note(f"not logged to MLflow yet: {trial.name}: {error}")

    def _log_waiting(self) -> str:
        """Log what has no place in MLflow yet, up to the first that fails; its error, or ''."""
        for trial in list(self.unlogged.values()):
            try:
                log_kept(self._tracker, self._spool, trial)
            except Exception as error:
                self._away = True
                return redacted(str(error)).partition("\n")[0]
            self._away = False
            del self.unlogged[trial.identity]
        return ""

    def _write(self, action: Callable[..., None], *arguments: Any) -> None:
        def attempt() -> None:
            if self._away:  # each attempt takes seconds; a result is still tried every time
                return
            try:
                action(*arguments)
            except Exception as error:  # the result itself is safe in the spool
                self._away = True
                self._display.note(f"MLflow: {redacted(str(error)).partition(chr(10))[0]}")

        self._writer.submit(attempt)
