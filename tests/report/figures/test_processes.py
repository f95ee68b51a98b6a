"""Tasks that copies of a process do."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from lossbench.report.figures import processes
from lossbench.report.figures.processes import Task, start_tasks, usable_processes

HERE = os.getpid


def _slow() -> int:
    time.sleep(0.01)
    return os.getpid()


def test_results_are_in_order_and_come_from_all_processes() -> None:
    tasks = [Task(lambda number=number: (number, _slow())) for number in range(60)]
    with start_tasks(tasks, 3) as results:
        time.sleep(0.1)
        found = results()
    assert [number for number, _ in found] == list(range(60))
    assert len({pid for _, pid in found}) == 3
    assert os.getpid() in {pid for _, pid in found}


def test_a_task_for_this_process_is_done_here() -> None:
    with start_tasks([Task(HERE), Task(HERE, here=True), Task(HERE)], 2) as results:
        time.sleep(0.5)  # the copy does its tasks
        first, second, third = results()
    assert first == third != os.getpid() == second


def test_one_process_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    with start_tasks([Task(HERE), Task(HERE)], 1) as results:
        assert results() == [os.getpid()] * 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_tasks_of_a_killed_copy_are_done_here(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    own = os.getpid()

    def do() -> int:
        if os.getpid() != own:
            os.kill(os.getpid(), number)
        return os.getpid()

    with start_tasks([Task(do), Task(do)], 2) as results:
        time.sleep(0.2)
        assert results() == [own, own]
    assert capfd.readouterr() == ("", "")


def test_tasks_are_done_here_if_a_copy_is_killed_while_they_are_handed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submit = ProcessPoolExecutor.submit
    submitted: list[int] = []

    def broken(pool: ProcessPoolExecutor, do: Any, number: int) -> Any:
        if submitted:
            raise BrokenProcessPool
        submitted.append(number)
        return submit(pool, do, number)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", broken)
    with start_tasks([Task(HERE)] * 3, 2) as results:
        assert results()[1:] == [os.getpid()] * 2


def test_an_error_is_raised_here(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise ValueError("no such colour")

    with start_tasks([Task(fail), Task(fail)], 2) as results:
        time.sleep(0.2)
        with pytest.raises(ValueError, match="no such colour"):
            results()
    assert capfd.readouterr().err == ""


def test_no_copy_outlives_an_error() -> None:
    def interrupted() -> None:
        with start_tasks([Task(_slow)] * 300, 3):
            raise KeyboardInterrupt

    children, threads = multiprocessing.active_children(), threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert multiprocessing.active_children() == children
    assert threading.active_count() == threads


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
