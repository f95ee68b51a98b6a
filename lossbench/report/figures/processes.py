"""Tasks that copies of this process do in the background.

A copy, made by fork, has everything in memory already: it imports nothing, and only the number of
a task is sent to it.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Generic, TypeVar

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


_tasks: Sequence[Task[Any]] = ()
"""The tasks, for the copies."""


@contextmanager
def start_tasks(
    tasks: Sequence[Task[Result]], processes: int
) -> Iterator[Callable[[], list[Result]]]:
    """Start tasks in copies of this process.

    Args:
        tasks: The tasks. Nothing but their results comes back from a copy.
        processes: Number of processes, this one included. With more than one, no other thread may
            work in this process.

    Yields:
        Function that does the remaining tasks, and returns the results of all in their order. A
        task whose copy was killed is done in this process.
    """
    global _tasks
    if processes == 1 or all(task.here for task in tasks):
        yield lambda: [task.do() for task in tasks]
        return
    _tasks = tasks
    pool = ProcessPoolExecutor(processes - 1, get_context("fork"), initializer=_prepare_copy)
    futures: dict[int, Future[Result]] = {}
    try:
        with suppress(BrokenProcessPool):  # a copy was killed already
            for i, task in enumerate(tasks):
                if not task.here:
                    futures[i] = pool.submit(_do_task, i)
        yield lambda: _results(tasks, futures)
    finally:
        pool.shutdown(cancel_futures=True)
        _tasks = ()


def _prepare_copy() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    gc.disable()  # it would touch, and so copy, the whole memory


def _do_task(number: int) -> Any:
    return _tasks[number].do()


def _results(tasks: Sequence[Task[Result]], futures: dict[int, Future[Result]]) -> list[Result]:
    found = {i: task.do() for i, task in enumerate(tasks) if task.here}
    for i in reversed(futures):  # the copies take the first ones
        if futures[i].cancel():
            found[i] = tasks[i].do()
    for i, future in futures.items():
        if i not in found:
            with suppress(BrokenProcessPool):
                found[i] = future.result()
    return [found[i] if i in found else task.do() for i, task in enumerate(tasks)]
