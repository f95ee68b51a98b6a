"""Watchdog: the death of one of Ray's processes is noticed."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest
from rich.console import Console

from lossbench.runner import ray_watchdog as module
from lossbench.runner.ray_watchdog import ray_watchdog


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """Child process in place of Ray's. SIGINT is enabled, which parallel test runners ignore.

    Children of other tests, for example a server for several of them, are hidden: the watchdog
    would end them, too.
    """
    children, others = psutil.Process.children, set(psutil.Process().children(recursive=True))

    def own(process: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
        return [child for child in children(process, recursive) if child not in others]

    monkeypatch.setattr(psutil.Process, "children", own)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(module, "NEEDED", ("sleep",))
    monkeypatch.setattr(module, "POLL_SEC", 0.05)
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()
    signal.signal(signal.SIGINT, before)


def test_a_dead_process_interrupts_the_main_thread(child: subprocess.Popen[bytes]) -> None:
    with ray_watchdog(Console()) as seen:
        time.sleep(0.3)
        assert seen.dead_process == ""
        child.kill()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(30)
    assert seen.message == "Ray's process sleep has died"


def test_a_hanging_process_is_ended(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    left = []
    monkeypatch.setattr(module, "GRACE_SEC", 0.2)
    monkeypatch.setattr("os._exit", left.append)
    with ray_watchdog(Console()):
        child.kill()
        try:
            time.sleep(30)
        except KeyboardInterrupt:
            time.sleep(1)  # like a thread that waits for Ray
    assert left == [1]
    assert (
        "Ray's process sleep has died; run the same command to continue" in capsys.readouterr().out
    )


def test_only_child_processes_are_watched() -> None:
    with ray_watchdog(Console()) as seen:
        time.sleep(0.2)
    assert seen.dead_process == ""
