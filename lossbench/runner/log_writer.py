"""Writing to MLflow in a thread, so that a slow server does not block the trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from lossbench.errors.redaction import redacted
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord
from lossbench.runner.outbox import Outbox, log_from_outbox
from lossbench.runner.progress import Display
from lossbench.tracking.store import Tracker

BEHIND = 100
"""Number of waiting writes above which `LogWriter.is_behind`."""


class LogWriter:
    """Single thread that writes to MLflow, in the order of the calls. No call raises.

    Attributes:
        unlogged: Trials whose results are still in the outbox, by identity.
    """

    def __init__(self, tracker: Tracker, outbox: Outbox, display: Display) -> None:
        self._tracker, self._outbox, self._display = tracker, outbox, display
        self._thread = ThreadPoolExecutor(1, "mlflow")
        self._unreachable = False
        self._submitted, self._done = 0, 0
        self.unlogged: dict[str, Trial] = {}

    @property
    def is_behind(self) -> bool:
        """Whether so many writes are waiting that those which can be left out should be."""
        return self._submitted - self._done > BEHIND

    def begin(self, trial: Trial) -> None:
        """Open the MLflow run of a trial."""
        self._submit(self._tracker.begin, trial)

    def log_epochs(self, trial: Trial, records: Sequence[EpochRecord]) -> None:
        """Log epochs of a running trial."""
        self._submit(self._tracker.log_epochs, trial, records)

    def stop(self, trial: Trial, status: Literal["FAILED", "KILLED"], message: str) -> None:
        """Close the MLflow run of a trial without a result."""
        self._submit(self._tracker.stop, trial, status, message)

    def log_result(self, trial: Trial) -> None:
        """Log the result of a trial from the outbox, after earlier results that are still there."""
        self._queue(self._log_result, trial)

    def close(self) -> None:
        """Try once more to log the remaining results, and wait for the thread."""
        self._thread.submit(self._log_waiting)
        self._thread.shutdown(wait=True)

    def _submit(self, action: Callable[..., None], *arguments: Any) -> None:
        def attempt() -> None:
            if self._unreachable:  # each attempt takes seconds; only results are tried every time
                return
            try:
                action(*arguments)
            except Exception as error:  # the result is safe in the outbox
                self._unreachable = True
                self._display.note(f"MLflow: {_first_line(error)}")

        self._queue(attempt)

    def _queue(self, write: Callable[..., None], *arguments: Any) -> None:
        def run() -> None:
            try:
                write(*arguments)
            finally:
                self._done += 1

        self._submitted += 1
        self._thread.submit(run)

    def _log_result(self, trial: Trial) -> None:
        self.unlogged[trial.identity] = trial
        if error := self._log_waiting():
            self._display.note(f"not logged to MLflow yet: {trial.name}: {error}")

    def _log_waiting(self) -> str:
        """Log results until one of them fails; return the error, or ''."""
        for trial in list(self.unlogged.values()):
            try:
                log_from_outbox(self._tracker, self._outbox, trial)
            except Exception as error:
                self._unreachable = True
                return _first_line(error)
            self._unreachable = False
            del self.unlogged[trial.identity]
        return ""


def _first_line(error: Exception) -> str:
    return redacted(str(error)).partition("\n")[0]
