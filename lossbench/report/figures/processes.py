"""Tasks that this process and copies of it, made by fork, do together.

A copy has everything in memory already: it imports nothing and is sent nothing. Each process takes
the next task until none is left, so that the faster one does more of them.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Generic, Self, TypeVar

Result = TypeVar("Result", covariant=True)
MAX_PROCESSES = 8
"""Each process changes some of the memory that it shares with the others."""


def usable_processes() -> int:
    """Number of processes that can draw at a time: the cores of this process.

    Only on Linux: elsewhere, system libraries do not survive a fork.
    """
    if sys.platform != "linux":
        return 1
    return min(len(os.sched_getaffinity(0)), MAX_PROCESSES)


@dataclass(frozen=True)
class Task(Generic[Result]):
    """A task of a process.

    Attributes:
        do: Function that does it.
        here: Whether only the process that has started the tasks may do it.
    """

    do: Callable[[], Result]
    here: bool = False


@dataclass(frozen=True)
class _Copy:
    """A copy of this process.

    Attributes:
        pid: Its process id.
        output: Unnamed file that it writes its results to.
    """

    pid: int
    output: IO[bytes]


class SharedTasks(Generic[Result]):
    """Tasks that are started at once in copies of this process; `results` does the remaining ones.

    A task of a copy that fails or is killed is done again in this process, where its error is
    raised. Leaving the context kills the copies.

    Args:
        tasks: The tasks. Nothing but their results comes back from a copy.
        processes: Number of processes, this one included.
    """

    def __init__(self, tasks: Sequence[Task[Result]], processes: int) -> None:
        self._tasks = tasks
        shared = [number for number, task in enumerate(tasks) if not task.here]
        self._copies: list[_Copy] = []
        # copies share the position in an open file
        self._queue = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self._queue.write(b"".join(number.to_bytes(4, "big") for number in shared))
        self._queue.seek(0)
        for _ in range(min(processes, len(shared)) - 1):
            self._copies.append(self._start())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._queue.close()
        for copy in self._copies:
            os.kill(copy.pid, signal.SIGKILL)
            os.waitpid(copy.pid, 0)
            copy.output.close()

    def results(self) -> list[Result]:
        """The results in the order of the tasks."""
        found = {i: task.do() for i, task in enumerate(self._tasks) if task.here}
        found |= self._do_shared()
        while self._copies:
            copy = self._copies[-1]
            os.waitpid(copy.pid, 0)
            self._copies.pop()
            with copy.output as output:
                output.seek(0)
                found |= _read(output)
        return [found[i] if i in found else task.do() for i, task in enumerate(self._tasks)]

    def _do_shared(self) -> dict[int, Result]:
        """Do shared tasks until none is left; the results by the numbers of the tasks."""
        found = {}
        while number := self._queue.read(4):
            index = int.from_bytes(number, "big")
            found[index] = self._tasks[index].do()
        return found

    def _start(self) -> _Copy:
        output = tempfile.TemporaryFile()  # noqa: SIM115
        pid = os.fork()
        if pid:
            return _Copy(pid, output)
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            gc.disable()  # it would touch, and so copy, the whole memory
            with output:
                pickle.dump(self._do_shared(), output)
        finally:
            os._exit(0)  # without exit handlers and buffered output, which are the parent's


def _read(output: IO[bytes]) -> dict[int, Any]:
    """Results of a copy; none if it has ended before it wrote all of them."""
    try:
        return dict(pickle.load(output))
    except (EOFError, pickle.UnpicklingError):
        return {}
