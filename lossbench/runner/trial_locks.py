"""Locks on trials, for processes that run at the same time in one working folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout

from lossbench.errors import RequestError
from lossbench.planning.trial import Trial

FOLDER = "claims"
"""Name of the folder in the working folder; the same as in earlier versions, which may run at the
same time."""


class TrialLocks:
    """Locks of this process, one per trial; the system releases them when the process ends.

    Args:
        work: Working folder of the run.
    """

    def __init__(self, work: Path) -> None:
        self._folder = work / FOLDER
        self._held: dict[str, FileLock] = {}

    def acquire(self, trials: Iterable[Trial]) -> list[Trial]:
        """Lock trials for this process.

        Returns:
            The trials that are locked now; other processes hold the rest.

        Raises:
            RequestError: The working folder cannot be written.
        """
        trials = list(trials)
        try:
            if trials:
                self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"cannot be written: {error.strerror}"
            raise RequestError(f"{self._folder.absolute()}: {reason}") from None
        return [trial for trial in trials if self._acquire(trial.identity)]

    def release(self) -> None:
        """Release all locks. Their files remain: deleting one would let two processes lock it."""
        for lock in self._held.values():
            lock.release()
        self._held.clear()

    def _acquire(self, identity: str) -> bool:
        if identity in self._held:
            return True
        lock = FileLock(self._folder / f"{identity}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return False
        self._held[identity] = lock
        return True
