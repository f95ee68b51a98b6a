"""SIGTERM and SIGHUP: they end the program in the same orderly way as Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 128 + signal.SIGINT
"""Exit code after Ctrl-C."""


class StopSignals:
    """Handlers of SIGTERM (scancel, docker stop, Kubernetes) and SIGHUP (a closed terminal).

    The first signal raises KeyboardInterrupt at once, because Ray Tune's own handling while trials
    run may take longer than the time until SIGKILL. Later signals have no effect.
    """

    def __init__(self) -> None:
        self._received: signal.Signals | None = None

    def install(self) -> None:
        """Install the handlers, except for signals that are ignored already (`nohup`)."""
        self._received = None
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as in shells; 0 before any signal."""
        return 0 if self._received is None else 128 + self._received

    def leave(self) -> NoReturn:
        """Kill all child processes and exit, without waiting for any of them.

        Ray's exit handlers would wait for processes that the signal may have ended.
        """
        import psutil

        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(self.exit_code)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _leave_closed_terminal()
        if self._received is not None:
            return
        self._received = signal.Signals(number)
        raise KeyboardInterrupt


def _leave_closed_terminal() -> None:
    """Redirect stdout and stderr to the null device if their terminal is closed.

    Writing to a closed terminal raises an error.
    """
    for output in (1, 2):
        try:
            closed = stat.S_ISCHR(os.fstat(output).st_mode) and not os.isatty(output)
        except OSError:
            continue
        if closed:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, output)
            os.close(null)


stop_signals = StopSignals()
"""Handlers of this process, installed by `main`."""
