"""Conditions that end a run before all its trials are run."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from lossbench.runner import tune_jobs
from lossbench.runner.tune_jobs import RunStopper


def fake_recorder(**changes: Any) -> SimpleNamespace:
    state = {"begun": True, "data_problem": "", "failed": {}, "diverged": set(), "abort_reason": ""}
    return SimpleNamespace(**{**state, **changes})


def test_without_any_worker_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_jobs, "WORKERS_START_SEC", 0.0)
    recorder = fake_recorder(begun=False)
    assert not RunStopper(recorder, False, float("inf"), waits=True).stop_all()
    assert RunStopper(recorder, False, float("inf")).stop_all()
    assert "no worker of Ray has started" in recorder.abort_reason
    recorder.begun, recorder.abort_reason = True, ""
    assert not RunStopper(recorder, False, float("inf")).stop_all()


@pytest.mark.parametrize(
    ("changes", "ends", "ends_with_fail_fast"),
    [
        ({}, False, False),
        ({"data_problem": "other data"}, True, True),
        ({"abort_reason": "the disk is full"}, True, True),
        ({"failed": {"a": "out of memory"}}, False, True),
        ({"diverged": {"a"}}, False, True),
    ],
)
def test_conditions_that_end_a_run(
    changes: dict[str, Any], ends: bool, ends_with_fail_fast: bool
) -> None:
    recorder: Any = fake_recorder(**changes)
    assert RunStopper(recorder, False, float("inf")).stop_all() is ends
    assert RunStopper(recorder, True, float("inf")).stop_all() is ends_with_fail_fast


def test_the_deadline_ends_a_run() -> None:
    recorder: Any = fake_recorder()
    assert RunStopper(recorder, False, time.monotonic() - 1).stop_all()
    assert not RunStopper(recorder, False, time.monotonic() + 100).stop_all()
