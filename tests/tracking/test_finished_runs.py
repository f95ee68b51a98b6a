"""Rows of imported runs are those that MLflow's client writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lossbench.errors import TrackingError
from lossbench.planning.plan import Plan
from lossbench.records import EpochRecord, TrialResult
from lossbench.tracking import run_writer
from lossbench.tracking.store import Tracker

MakeResult = Callable[..., TrialResult]
FILES = [("trial.json", b"{}"), ("measurements/0123456789abcdef/x.npz", b"x")]


def import_all(uri: str, plan: Plan, make_result: MakeResult) -> None:
    tracker = Tracker.open(uri)
    tracker.start_suite(plan, {})
    trials = plan.trials[:5]
    tracker.import_trainings((trial, make_result(trial), FILES) for trial in trials)
    tracker.finish_suite("FINISHED")


def rows(uri: str, table: str) -> list[tuple[object, ...]]:
    """Rows of a table, without ids and times, in a fixed order."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as db:
        names = dict(db.execute("SELECT run_uuid, name FROM runs"))
        found = db.execute(f"SELECT * FROM {table}")
        columns = [column for column, *_ in found.description]
        cleaned = []
        for row in found.fetchall():
            values = dict(zip(columns, row, strict=True))
            values["run_uuid"] = names[values["run_uuid"]]
            for key in ("start_time", "end_time"):
                values.pop(key, None)
            if "artifact_uri" in values:
                place = Path(str(values["artifact_uri"])).parts
                values["artifact_uri"] = (place[-4], place[-3], place[-2] in names, place[-1])
            if values.get("key") == "mlflow.parentRunId":
                values["value"] = names[values["value"]]
            cleaned.append(tuple(values.items()))
    return sorted(cleaned, key=repr)


def test_imported_runs_are_those_of_mlflows_client(
    plan: Plan,
    make_result: MakeResult,
    tmp_path: Path,
    uri: str,
    empty_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_writer, "_RUNS_PER_TRANSACTION", 2)
    import_all(uri, plan, make_result)
    folder = tmp_path / "client"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    other = f"sqlite:///{folder}/mlflow.db"
    monkeypatch.setattr(run_writer, "new_artifact_folder", lambda *_: None)
    import_all(other, plan, make_result)
    for table in ("runs", "tags", "params", "metrics", "latest_metrics"):
        assert len(rows(uri, table)) >= 6
        assert rows(uri, table) == rows(other, table), table
    stores = [tmp_path / "mlartifacts", folder / "mlartifacts"]
    files = [sorted(p.relative_to(s).parts[2:] for p in s.rglob("*.*")) for s in stores]
    assert files[0] == files[1]
    assert len(files[0]) == 5 * 3 + 1


def test_imported_results_are_found_and_shown(
    plan: Plan, make_result: MakeResult, uri: str, client: MlflowClient
) -> None:
    import_all(uri, plan, make_result)
    tracker = Tracker.open(uri, create=False)
    expected = {trial.identity: make_result(trial) for trial in plan.trials[:5]}
    assert tracker.results(plan.trials) == expected
    experiment = client.get_experiment_by_name("demo")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert len(found) == 6
    for run in found:
        identity = run.data.tags.get("lossbench.identity")
        if identity:
            assert run.data.metrics["error"] == expected[identity].metrics["error"]
            history = client.get_metric_history(run.info.run_id, "train_loss")
            assert [metric.step for metric in history] == [1, 2, 3]
            assert {f.path for f in client.list_artifacts(run.info.run_id)} == {
                "measurements",
                "result.json",
                "trial.json",
            }


def test_names_that_mlflow_makes_equal_are_stored_once(
    plan: Plan, make_result: MakeResult, uri: str
) -> None:
    tracker = Tracker.open(uri)
    tracker.start_suite(plan, {})
    trial = plan.trials[0]
    record = EpochRecord(epoch=1, timestamp_ms=1, metrics={"a!": 2.0, "a?": 2.0})
    environment = {"b!": "1", "b?": "2"}
    result = make_result(trial, history=(record,), environment=environment)
    tracker.import_trainings([(trial, result, FILES)])
    tracker.finish_suite("FINISHED")
    assert Tracker.open(uri, create=False).results([trial]) == {trial.identity: result}
    stored = [dict(row) for table in ("tags", "metrics") for row in rows(uri, table)]
    assert [row["value"] for row in stored if row["key"] == "a_"] == [2.0]
    assert [row["value"] for row in stored if row["key"] == "lossbench.environment.b_"] == ["2"]


def test_a_database_that_refuses_is_one_message(
    plan: Plan, make_result: MakeResult, uri: str
) -> None:
    tracker = Tracker.open(uri)
    tracker.start_suite(plan, {})
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as db, db:
        db.execute("DROP TABLE latest_metrics")
    with pytest.raises(TrackingError, match="latest_metrics"):
        tracker.import_trainings([(plan.trials[0], make_result(plan.trials[0]), FILES)])
