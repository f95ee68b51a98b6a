"""Watches over the processes that a Ray of our own consists of: without them it waits for ever."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
from rich.console import Console

LOOK_SEC = 1.0
GRACE_SEC = 20.0
"""After this long without an end in order there is none: what waits for Ray cannot be told so."""
STOP_GRACE_SEC = 6.0
"""The same after a signal to stop: `docker stop` sends SIGKILL after 10 seconds."""
NEEDED = ("raylet", "gcs_server")


@dataclass
class Watch:
    """What was seen.

    Attributes:
        lost: Which of Ray's processes has died; empty while all live.
    """

    lost: str = ""

    @property
    def message(self) -> str:
        return f"Ray's process {self.lost} has died"


@contextlib.contextmanager
def watched(
    console: Console,
    stop_code: Callable[[], int] = lambda: 0,
    give_up: Callable[[], None] = lambda: None,
) -> Iterator[Watch]:
    """Interrupt the main thread, as Ctrl-C does, once a process that Ray needs has died.

    Watches those that are children of this process: of a cluster elsewhere there are none. If the
    main thread does not end, this process does, with exit code 1: results are in the spool or in
    MLflow, and claims are freed by the system.

    A signal to stop interrupts the main thread itself, and often ends Ray's processes, too. They
    are ended here without waiting for them.

    Args:
        console: For the message of an end by force.
        stop_code: Returns the exit code that a signal to stop asks for; 0 while none has come.
        give_up: Called before an end by force after a signal to stop.
    """
    watch, done = Watch(), threading.Event()
    children = psutil.Process().children()
    needed = {child: name for child in children if (name := _name(child)) in NEEDED}
    family: set[psutil.Process] = set()

    def look() -> None:
        while not done.wait(LOOK_SEC):
            family.update(psutil.Process().children(recursive=True) if needed else ())
            if stop_code():
                if not done.wait(STOP_GRACE_SEC):
                    give_up()
                    _end(family)
                    console.print("stopped; run the same command to continue")
                    os._exit(stop_code())
                return
            watch.lost = next((name for child, name in needed.items() if not _lives(child)), "")
            if watch.lost:
                os.kill(os.getpid(), signal.SIGINT)
                if not done.wait(GRACE_SEC):
                    _end(family)
                    console.print(
                        f"error: {watch.message}; run the same command to continue", style="red"
                    )
                    os._exit(1)
                return

    thread = threading.Thread(target=look, name="ray-watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        done.set()
        thread.join()
        if watch.lost or (needed and stop_code()):
            _end(family)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _end(family: set[psutil.Process]) -> None:
    """Ray's other processes, which nobody else would end."""
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""
