"""Outbox: every result is logged completely and once, even after a crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from lossbench.errors import TrackingError
from lossbench.planning.plan import Plan
from lossbench.runner.outbox import Outbox, read_result
from lossbench.runner.outcome import RunOutcome
from lossbench.tracking.store import Tracker
from tests.runner.fake_runs import WorkFolder, result_of

pytestmark = pytest.mark.long


def test_results_survive_an_unreachable_server(
    plan: Plan, folder: WorkFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise TrackingError("the server is away")

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "finish", away)
        outcome = folder.run(plan)
    assert len(outcome.unlogged) == 3
    assert folder.tracker().results(plan.trials) == {}
    again = folder.run(plan)
    assert again == RunOutcome()
    assert len(folder.trained) == 3  # none twice
    assert len(folder.tracker().results(plan.trials)) == 3


def test_after_a_crash_no_result_is_logged_twice(
    plan: Plan, folder: WorkFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "remove", lambda *_: None)
        folder.run(plan)
    outbox = Outbox(folder.work, plan.table_identity)
    assert len(list(outbox.waiting())) == 3
    folder.run(plan)
    assert list(outbox.waiting()) == []
    client = MlflowClient(folder.uri)
    [experiment] = client.search_experiments(filter_string="name = 'small'")
    runs = client.search_runs([experiment.experiment_id], "tags.`lossbench.kind` = 'trial'")
    assert len(runs) == 3
    for run in runs:
        curve = client.get_metric_history(run.info.run_id, "test_error")
        assert [point.step for point in curve] == [1]


def test_an_incomplete_result_is_removed(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    delivered, outbox = tmp_path / "delivered", Outbox(tmp_path / "work", "table")
    delivered.mkdir()
    (delivered / "result.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        outbox.save(plan.trials[0], delivered)
    assert list(outbox.folder.iterdir()) == []


def test_a_result_that_cannot_be_read_is_not_in_the_outbox(tmp_path: Path, plan: Plan) -> None:
    trial = plan.trials[0]
    (tmp_path / "delivered").mkdir()
    (tmp_path / "delivered" / "result.json").write_text(json.dumps({}), encoding="utf-8")
    outbox = Outbox(tmp_path, "table")
    outbox.save(trial, tmp_path / "delivered")
    assert list(outbox.waiting()) == []  # it will be run again
    assert not (outbox.folder / trial.identity).exists()
    (outbox.folder / ".unfinished").mkdir()
    (outbox.folder / "emptied").mkdir()
    assert list(outbox.waiting()) == []


def test_a_result_of_a_later_attempt_replaces_the_one_before(tmp_path: Path, plan: Plan) -> None:
    outbox, trial = Outbox(tmp_path, "table"), plan.trials[0]
    for status in ("diverged", "finished"):
        outbox.save_result(trial, result_of(trial, status))  # type: ignore[arg-type]
    assert list(outbox.waiting()) == [trial]
    assert read_result(outbox.folder / trial.identity).status == "finished"
    assert [path.name for path in outbox.folder.iterdir()] == [trial.identity]


def test_results_of_earlier_versions_are_found(tmp_path: Path, plan: Plan) -> None:
    """Their folder is `spool`."""
    Outbox(tmp_path, "table").save_result(plan.trials[0], result_of(plan.trials[0]))
    assert (tmp_path / "spool" / "table" / plan.trials[0].identity / "result.json").is_file()


def test_a_result_that_an_earlier_version_could_not_log_is_logged(
    plan: Plan, folder: WorkFolder
) -> None:
    """Its trial lists its evaluations and the digests of their data as part of its identity."""
    trial = plan.trials[0]
    outbox = Outbox(folder.work, plan.table_identity)
    earlier = outbox.folder / "0123456789abcdef"
    earlier.mkdir(parents=True)
    specification = json.loads(trial.model_dump_json(exclude={"keep_weights"}))
    specification["evaluate"] = [{"name": "error", "params": {}}]
    (earlier / "trial.json").write_text(
        json.dumps({**specification, "other_digests": {}}), encoding="utf-8"
    )
    result = json.loads(result_of(trial).model_dump_json(exclude={"measurements"}))
    (earlier / "result.json").write_text(json.dumps(result), encoding="utf-8")
    folder.run(plan)
    assert list(outbox.waiting()) == []
    assert folder.trained == [t.row for t in plan.trials[1:]]
    found = folder.tracker().results(plan.trials)
    assert found[trial.identity].metrics == {"error": 9.0}
    assert found[trial.identity].unmeasured == ()
