"""Signals that stop the program: SIGTERM and SIGHUP end it in order, as Ctrl-C does."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
from types import FrameType
from typing import NoReturn

import psutil

INTERRUPTED = 128 + signal.SIGINT
"""Exit code after Ctrl-C."""


class StopSignals:
    """Handlers of SIGTERM (scancel, docker stop, Kubernetes) and SIGHUP (a closed terminal).

    The first of them raises KeyboardInterrupt at once: Ray Tune, which handles Ctrl-C while trials
    run, may take longer than there is until SIGKILL. Later ones change nothing.
    """

    def __init__(self) -> None:
        self._received: signal.Signals | None = None

    def install(self) -> None:
        """Handle the signals from now on, except those that `nohup` lets the program ignore."""
        self._received = None
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells count; 0 while none has come."""
        return 0 if self._received is None else 128 + self._received

    def leave(self) -> NoReturn:
        """End this process and all that it started, without waiting for any of them.

        Ray's handlers at exit would wait, for processes that the signal may have ended.
        """
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
    """Replace outputs to a terminal that is gone: a write there would raise an error."""
    for output in (1, 2):
        try:
            gone = stat.S_ISCHR(os.fstat(output).st_mode) and not os.isatty(output)
        except OSError:
            continue
        if gone:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, output)
            os.close(nowhere)


stop_signals = StopSignals()
"""Those of this process, which `main` installs."""
