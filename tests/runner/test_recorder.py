"""Recorder: Tune's events become results, pauses and failures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lossbench.planning.plan import Plan
from lossbench.records import EpochRecord
from lossbench.runner import recorder as recorder_module
from lossbench.runner.log_writer import LogWriter
from lossbench.runner.outbox import Outbox
from lossbench.runner.progress import Display
from lossbench.runner.recorder import MAX_WORKER_DEATHS, Recorder
from lossbench.tracking.store import Tracker
from tests.runner.fake_runs import FakeTuneTrial, WorkFolder, result_of

pytestmark = pytest.mark.long


@pytest.fixture
def recorder(plan: Plan, folder: WorkFolder) -> Recorder:
    folder.work.mkdir()
    tracker = Tracker.open(folder.uri)
    tracker.start_suite(plan, {})
    outbox = Outbox(folder.work, plan.table_identity)
    display = Display(Console(file=folder.seen, width=200), 3, 6)
    return Recorder(plan.trials, tracker, outbox, display, folder.work)


def shown(folder: WorkFolder) -> str:
    assert isinstance(folder.seen, io.StringIO)
    return folder.seen.getvalue()


def test_a_failed_trial_has_a_log_and_no_result(
    plan: Plan, folder: WorkFolder, recorder: Recorder, tmp_path: Path
) -> None:
    trial = plan.trials[0]
    tune_trial = FakeTuneTrial(trial, tmp_path)
    recorder.on_trial_start(0, [], tune_trial)
    recorder.on_trial_result(0, [], tune_trial, {"failed": "Traceback\nValueError: too small"})
    recorder.on_trial_complete(0, [], tune_trial)
    recorder.close()
    assert recorder.failed == {trial.identity: "ValueError: too small"}
    assert recorder.finished == set()
    log = folder.work / "logs" / f"{trial.identity}.log"
    assert log.read_text(encoding="utf-8") == (
        f"{trial.name}\n\nTraceback\nValueError: too small\n"
    )
    assert f"failed: {trial.name}: ValueError: too small (log: {log})" in shown(folder)


def test_a_paused_trial_keeps_its_partial_result(
    plan: Plan, folder: WorkFolder, recorder: Recorder, tmp_path: Path
) -> None:
    trial = plan.trials[0]
    partial = result_of(trial, "stopped", "Fake GPU 9000")
    tune_trial = FakeTuneTrial(trial, tmp_path)
    recorder.on_trial_start(0, [], tune_trial)
    recorder.on_trial_result(0, [], tune_trial, {"paused": partial.model_dump_json()})
    recorder.on_trial_complete(0, [], tune_trial)
    recorder.close()
    assert recorder.paused == {trial.identity: partial}
    assert (recorder.finished, recorder.failed) == (set(), {})


@pytest.mark.parametrize(
    ("report", "attribute", "expected"),
    [
        ({"data_problem": "other data than planned"}, "data_problem", "other data than planned"),
        (
            {"failed": "OSError: [Errno 28] No space left on device"},
            "abort_reason",
            "the disk is full",
        ),
    ],
)
def test_some_failures_end_the_whole_run(
    plan: Plan,
    recorder: Recorder,
    tmp_path: Path,
    report: dict[str, Any],
    attribute: str,
    expected: str,
) -> None:
    tune_trial = FakeTuneTrial(plan.trials[0], tmp_path)
    recorder.on_trial_start(0, [], tune_trial)
    recorder.on_trial_result(0, [], tune_trial, report)
    recorder.close()
    assert getattr(recorder, attribute).startswith(expected)


def test_restarts_after_the_death_of_a_worker_are_counted(
    plan: Plan, folder: WorkFolder, recorder: Recorder, tmp_path: Path
) -> None:
    tune_trial = FakeTuneTrial(plan.trials[0], tmp_path)
    assert not recorder.begun
    recorder.on_trial_start(0, [], tune_trial)
    assert recorder.begun
    recorder.on_trial_recover(0, [], tune_trial)
    assert "died" not in shown(folder)  # only when it starts again
    recorder.on_trial_start(0, [], tune_trial)
    recorder.on_trial_recover(0, [], tune_trial)
    recorder.on_trial_start(0, [], tune_trial)
    recorder.close()
    message = f"{plan.trials[0].name}: its worker process died; restart"
    assert f"{message} 1 of at most {MAX_WORKER_DEATHS}" in shown(folder)
    assert f"{message} 2 of at most {MAX_WORKER_DEATHS}" in shown(folder)


@pytest.mark.parametrize("behind", [False, True])
def test_epochs_of_running_trials_are_not_logged_if_mlflow_is_behind(
    plan: Plan,
    folder: WorkFolder,
    recorder: Recorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    behind: bool,
) -> None:
    trial = plan.trials[0]
    logged: list[int] = []
    monkeypatch.setattr(recorder_module, "FLUSH_SEC", 0.0)
    monkeypatch.setattr(LogWriter, "is_behind", behind)
    monkeypatch.setattr(
        Tracker, "log_epochs", lambda _, trial, records: logged.extend(r.epoch for r in records)
    )
    tune_trial = FakeTuneTrial(trial, tmp_path)
    recorder.on_trial_start(0, [], tune_trial)
    epoch = EpochRecord(epoch=1, timestamp_ms=1, metrics={"train_loss": 1.0})
    recorder.on_trial_result(0, [], tune_trial, {"epochs": [epoch.model_dump()]})
    recorder.close()
    assert logged == ([] if behind else [1])
