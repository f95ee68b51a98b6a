"""Which process runs a trial, where several run at the same time in one working folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout

from lossbench.errors import RequestError
from lossbench.planning.trial import Trial


class Claims:
    """Locks of this process, one a trial; the system frees them however it ends.

    Args:
        work: Of the run.
    """

    def __init__(self, work: Path) -> None:
        self._folder = work / "claims"
        self._held: dict[str, FileLock] = {}

    def take(self, trials: Iterable[Trial]) -> list[Trial]:
        """Those that no other process has, from now on this one's.

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
        return [trial for trial in trials if self._take(trial.identity)]

    def release(self) -> None:
        """Give all back. The empty files stay: removing one would let two processes hold it."""
        for lock in self._held.values():
            lock.release()
        self._held.clear()

    def _take(self, identity: str) -> bool:
        if identity in self._held:
            return True
        lock = FileLock(self._folder / f"{identity}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return False
        self._held[identity] = lock
        return True
