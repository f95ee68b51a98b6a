"""Writing to MLflow while the server is unreachable."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from lossbench.errors import TrackingError
from lossbench.planning.plan import Plan
from lossbench.runner import log_writer
from lossbench.runner.log_writer import LogWriter
from lossbench.tracking.store import Tracker
from tests.runner.fake_runs import WorkFolder

pytestmark = pytest.mark.long


def test_all_results_are_logged_if_the_server_is_available_again_during_the_run(
    plan: Plan, folder: WorkFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    finish = Tracker.finish

    def away_at_first(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls <= 2:
            raise TrackingError("the server is away")
        finish(*arguments)

    monkeypatch.setattr(Tracker, "finish", away_at_first)
    outcome = folder.run(plan)
    assert (outcome.started, outcome.unlogged) == (3, [])
    assert "not logged to MLflow yet" in folder.seen.getvalue()
    assert len(folder.tracker().results(plan.trials)) == 3


def test_a_writer_is_behind_while_too_many_writes_wait(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "BEHIND", 2)
    go_on = threading.Event()
    tracker: Any = SimpleNamespace(log_epochs=lambda trial, records: go_on.wait(60))
    nothing: Any = None
    writer = LogWriter(tracker, nothing, nothing)
    for _ in range(2):
        writer.log_epochs(plan.trials[0], [])
    assert not writer.is_behind
    writer.log_epochs(plan.trials[0], [])
    assert writer.is_behind
    go_on.set()
    writer.close()
    assert not writer.is_behind
