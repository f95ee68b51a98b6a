"""Tasks that copies of a process do."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence

import pytest

from lossbench.report.figures import processes
from lossbench.report.figures.processes import SharedTasks, Task, usable_processes

HERE = os.getpid


def _wait_for_copies(shared: SharedTasks[int]) -> list[int]:
    """Wait until the copies have ended; their process ids."""
    pids = [copy.pid for copy in shared._copies]
    for pid in pids:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pids


def test_results_are_in_order_and_come_from_copies() -> None:
    tasks = [Task(lambda number=number: (number, os.getpid())) for number in range(300)]
    with SharedTasks(tasks, 3) as shared:
        pids = [copy.pid for copy in shared._copies]
        for pid in pids:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        found = shared.results()
    assert len(pids) == 2
    assert [number for number, _ in found] == list(range(300))
    assert {pid for _, pid in found} <= set(pids)


def test_a_task_for_this_process_is_done_here() -> None:
    with SharedTasks([Task(HERE), Task(HERE, here=True), Task(HERE)], 2) as shared:
        [copy] = _wait_for_copies(shared)
        assert shared.results() == [copy, os.getpid(), copy]


def test_one_process_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    with SharedTasks([Task(HERE), Task(HERE)], 1) as shared:
        assert shared.results() == [os.getpid()] * 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_tasks_of_a_killed_copy_are_done_here(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    own = os.getpid()

    def do() -> int:
        if os.getpid() != own:
            os.kill(os.getpid(), number)
        return os.getpid()

    with SharedTasks([Task(do), Task(do)], 2) as shared:
        _wait_for_copies(shared)
        assert shared.results() == [own, own]
    assert capfd.readouterr() == ("", "")


def test_an_error_is_raised_here(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise ValueError("no such colour")

    with SharedTasks([Task(fail), Task(fail)], 2) as shared:
        _wait_for_copies(shared)
        with pytest.raises(ValueError, match="no such colour"):
            shared.results()
    assert capfd.readouterr().err == ""


def test_no_copy_outlives_an_error() -> None:
    def interrupted() -> list[int]:
        with SharedTasks([Task(lambda: time.sleep(600))] * 3, 3) as shared:
            pids.extend(copy.pid for copy in shared._copies)
            raise KeyboardInterrupt

    pids: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(pids) == 2
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


@pytest.mark.parametrize(
    ("platform", "cores", "expected"), [("linux", 2, 2), ("linux", 64, 8), ("darwin", 8, 1)]
)
def test_number_of_processes(
    platform: str, cores: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def affinity(_: int) -> Sequence[int]:
        return range(cores)

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(processes.os, "sched_getaffinity", affinity)
    assert usable_processes() == expected
