"""Which process runs a trial, where several run at the same time in one working folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout

from lossbench.plan import Trial


class Claims:
    """Locks of this process, one a trial; the system frees them however it ends.

    Args:
        work: Of the run; it exists.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, work: Path) -> None:
        self._folder = work / "claims"
        self._folder.mkdir(exist_ok=True)
        self._held: dict[str, FileLock] = {}

    def take(self, trials: Iterable[Trial]) -> list[Trial]:
        """Those that no other process has, from now on this one's."""
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
