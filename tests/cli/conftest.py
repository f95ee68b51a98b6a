"""Fixtures of the tests of several commands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker
from tests.synthetic_measurements import measurements_of

Run = Callable[..., tuple[int, str, str]]
Store = Callable[..., None]


@pytest.fixture
def store(tmp_path: Path, empty_database: Path, run: Run) -> Store:
    """Store made-up results of a suite in the working folder's database."""

    def store(suite: Path, *overrides: str) -> None:
        if not Path("mlflow.db").exists():
            shutil.copy(empty_database, "mlflow.db")
        plan = check(load_suite(suite, overrides), tmp_path)
        tracker = Tracker.open(None)
        tracker.start_suite(plan, {})
        (tmp_path / "nothing").mkdir(exist_ok=True)
        for trial in plan.trials:
            tracker.finish(trial, _result(plan, trial), tmp_path / "nothing")
        tracker.finish_suite("FINISHED")

    return store


def _result(plan: Plan, trial: Trial) -> TrialResult:
    level = [row.label for row in plan.rows].index(trial.row)
    metrics = {"error": 5.0 + level + 0.1 * trial.seed}
    return TrialResult(
        identity=trial.identity,
        status="finished",
        metrics=metrics,
        measurements=measurements_of(trial, metrics),
        weights_digest=trial.identity,
        history=(EpochRecord(epoch=1, timestamp_ms=1_700_000_000_000, metrics={}),),
        wall_time_sec=1.0,
        peak_memory_mib=200.0,
        device="cpu",
        environment={"torch": "2.13.0"},
    )
