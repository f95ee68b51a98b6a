"""Locks on trials, for processes that run at the same time in one working folder."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout

from lossbench.errors import RequestError
from lossbench.planning.trial import Trial

FOLDER = "claims"
"""Name of the folder in the working folder; the same as in earlier versions, which may run at the
same time."""

OTHER_FILES = 512
"""Number of open files that are left for everything else, at most half of all."""


class TrialLocks:
    """Locks of this process, one per trial; the system releases them when the process ends.

    Each is an open file, and a process may have only so many. The limit is raised as far as the
    system allows; more trials are not locked at once.

    Args:
        work: Working folder of the run.
    """

    def __init__(self, work: Path) -> None:
        self._folder = work / FOLDER
        self._held: dict[str, FileLock] = {}

    def acquire(self, trials: Iterable[Trial]) -> list[Trial]:
        """Lock trials for this process.

        Returns:
            The trials that are locked now. Other processes hold the rest, or there are too many.

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
        limit = max_open_files()
        most = max(limit - OTHER_FILES, limit // 2)
        return [trial for trial in trials if self._acquire(trial.identity, most)]

    def release(self) -> None:
        """Release all locks. Their files remain: deleting one would let two processes lock it."""
        for lock in self._held.values():
            lock.release()
        self._held.clear()

    def _acquire(self, identity: str, most: int) -> bool:
        if identity in self._held:
            return True
        if len(self._held) >= most:
            return False
        lock = FileLock(self._folder / f"{identity}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return False
        self._held[identity] = lock
        return True


def max_open_files() -> int:
    """Number of files that this process may have open, after raising it to the system's limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # macOS allows less than it says
            return soft
    return hard
