"""Watchdog for the Ray processes that this process has started.

If one of them dies, Ray waits forever.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
from rich.console import Console

POLL_SEC = 1.0
GRACE_SEC = 20.0
"""Time for the main thread to end after a process died; it may be blocked by a call of Ray."""
STOP_GRACE_SEC = 6.0
"""Time for the main thread to end after a signal to stop: `docker stop` kills after 10 seconds."""
NEEDED = ("raylet", "gcs_server")
"""Names of the processes without which Ray does not work."""


@dataclass
class Watchdog:
    """State of Ray's processes.

    Attributes:
        dead_process: Name of the process that has died; empty while all are alive.
    """

    dead_process: str = ""

    @property
    def message(self) -> str:
        return f"Ray's process {self.dead_process} has died"


@contextlib.contextmanager
def ray_watchdog(
    console: Console,
    stop_code: Callable[[], int] = lambda: 0,
    before_exit: Callable[[], None] = lambda: None,
) -> Iterator[Watchdog]:
    """Interrupt the main thread, like Ctrl-C, when a process that Ray needs has died.

    Only child processes are watched; with a cluster that was running before, there are none. If the
    main thread does not end in time, this process exits with code 1: results are in the outbox or
    in MLflow, and the system releases the locks on trials.

    A signal to stop interrupts the main thread without this watchdog, and often ends Ray's
    processes. The remaining ones are killed.

    Args:
        console: Console for the message before a forced exit.
        stop_code: Returns the exit code for a signal to stop; 0 without a signal.
        before_exit: Called before a forced exit after a signal to stop.
    """
    watchdog, done = Watchdog(), threading.Event()
    children = psutil.Process().children()
    needed = {child: name for child in children if (name := _name(child)) in NEEDED}
    processes: set[psutil.Process] = set()

    def poll() -> None:
        while not done.wait(POLL_SEC):
            processes.update(psutil.Process().children(recursive=True) if needed else ())
            if stop_code():
                if not done.wait(STOP_GRACE_SEC):
                    before_exit()
                    _kill(processes)
                    console.print("stopped; run the same command to continue")
                    os._exit(stop_code())
                return
            watchdog.dead_process = next(
                (name for child, name in needed.items() if not _is_alive(child)), ""
            )
            if watchdog.dead_process:
                os.kill(os.getpid(), signal.SIGINT)
                if not done.wait(GRACE_SEC):
                    _kill(processes)
                    message = f"error: {watchdog.message}; run the same command to continue"
                    console.print(message, style="red")
                    os._exit(1)
                return

    thread = threading.Thread(target=poll, name="ray-watchdog", daemon=True)
    thread.start()
    try:
        yield watchdog
    finally:
        done.set()
        thread.join()
        if watchdog.dead_process or (needed and stop_code()):
            _kill(processes)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _kill(processes: set[psutil.Process]) -> None:
    """Kill Ray's remaining processes, which would not end without it."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""
