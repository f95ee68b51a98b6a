"""Locks on trials: one process trains a trial, the others wait."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lossbench.errors import RequestError
from lossbench.planning.plan import Plan
from lossbench.runner import trial_locks
from tests.runner.fake_runs import WorkFolder

pytestmark = pytest.mark.long


def test_a_trial_is_locked_by_one_process(plan: Plan, folder: WorkFolder) -> None:
    first, second = folder.other_process(), folder.other_process()
    assert first.acquire(plan.trials[:2]) == list(plan.trials[:2])
    assert first.acquire(plan.trials[:2]) == list(plan.trials[:2])  # still
    assert second.acquire(plan.trials) == [plan.trials[2]]
    first.release()
    assert second.acquire(plan.trials) == list(plan.trials)


def test_a_working_folder_that_cannot_be_written_is_refused(plan: Plan, folder: WorkFolder) -> None:
    (folder.work).write_text("a file", encoding="utf-8")
    with pytest.raises(RequestError, match="claims: cannot be written: Not a dir"):
        folder.run(plan)
    assert folder.trained == []


@pytest.mark.parametrize(("files", "others"), [(3, 1), (4, 512)])
def test_trials_are_locked_in_parts_if_there_are_more_than_open_files(
    files: int,
    others: int,
    plan: Plan,
    folder: WorkFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial_locks, "max_open_files", lambda: files)
    monkeypatch.setattr(trial_locks, "OTHER_FILES", others)
    locks = folder.other_process()
    assert locks.acquire(plan.trials) == list(plan.trials[:2])
    assert locks.acquire(plan.trials) == list(plan.trials[:2])  # still
    locks.release()
    assert locks.acquire(plan.trials[1:]) == list(plan.trials[1:])


def test_a_run_trains_all_trials_if_there_are_more_than_open_files(
    plan: Plan, folder: WorkFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_locks, "max_open_files", lambda: 4)
    folder.run(plan)
    assert folder.trained == [trial.row for trial in plan.trials]


def test_the_limit_of_open_files_is_raised() -> None:
    code = """
import resource
from lossbench.runner.trial_locks import max_open_files
hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 2000)
resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
assert max_open_files() == hard
assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
