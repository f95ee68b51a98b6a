"""Writing to MLflow while the server is unreachable."""

from __future__ import annotations

from typing import Any

import pytest

from lossbench.errors import TrackingError
from lossbench.planning.plan import Plan
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
