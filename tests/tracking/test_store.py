"""The tracker on a real sqlite database."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from lossbench.errors import TrackingError
from lossbench.planning.plan import Plan
from lossbench.planning.search import SearchPoints
from lossbench.records import EpochRecord, TrialResult
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker

pytestmark = pytest.mark.long

MakeResult = Callable[..., TrialResult]
PARENT = "mlflow.parentRunId"


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri, registry_uri=uri)


def all_runs(client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name("demo")
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))


def started(uri: str, plan: Plan) -> Tracker:
    tracker = Tracker.open(uri)
    tracker.start_suite(plan, {"python": "3.11"})
    return tracker


def test_a_result_survives_exactly(
    uri: str, plan: Plan, make_result: MakeResult, artifacts: Path
) -> None:
    tracker = started(uri, plan)
    finished, diverged = plan.trials[:2]
    expected = {
        finished.identity: make_result(finished),
        diverged.identity: make_result(
            diverged, status="diverged", reason="the loss was nan", metrics={}, history=()
        ),
    }
    for trial in (finished, diverged):
        tracker.begin(trial)
        tracker.log_epochs(trial, expected[trial.identity].history)
        tracker.finish(trial, expected[trial.identity], artifacts)
    assert Tracker.open(uri, create=False).results(plan.trials) == expected


@pytest.mark.parametrize(
    ("right", "constant", "status", "reason"),
    [
        (10, False, "finished", "no better than guessing: right on 10 of 32 images"),
        (16, False, "finished", "no better than guessing: right on 16 of 32 images"),
        (3, False, "diverged", "was right on 3 of 32 images, worse than guessing among 2 classes"),
        (16, True, "diverged", "gave the same class for all 32 images"),
    ],
)
def test_a_result_called_diverged_by_an_earlier_version_is_judged_anew(
    uri: str,
    plan: Plan,
    make_result: MakeResult,
    artifacts: Path,
    right: int,
    constant: bool,
    status: str,
    reason: str,
) -> None:
    labels = np.arange(32) % 2
    predicted = np.where(np.arange(32) < right, labels, 1 - labels)
    if constant:
        predicted[:] = 0
    np.savez(artifacts / "predictions.npz", labels=labels, predicted=predicted)
    trial = plan.trials[0]
    stored = make_result(trial, status="diverged", reason="ended no better than chance")
    started(uri, plan).finish(trial, stored, artifacts)
    [found] = Tracker.open(uri, create=False).results(plan.trials).values()
    assert (found.status, found.reason[: len(reason)]) == (status, reason)
    assert found.metrics == stored.metrics


def test_a_divergence_of_an_earlier_version_without_predictions_stays_one(
    uri: str, plan: Plan, make_result: MakeResult, artifacts: Path
) -> None:
    (artifacts / "predictions.npz").unlink()
    trial = plan.trials[0]
    stored = make_result(trial, status="diverged", reason="ended no better than chance")
    started(uri, plan).finish(trial, stored, artifacts)
    assert [*Tracker.open(uri, create=False).results(plan.trials).values()] == [stored]


def test_arrays_survive_and_what_is_missing_or_broken_is_none(
    uri: str,
    plan: Plan,
    make_result: MakeResult,
    artifacts: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trial = plan.trials[0]
    np.savez(artifacts / "pickled.npz", objects=np.array([{}], dtype=object))
    (artifacts / "embedding.npz").write_bytes(b"no zip file")
    started(uri, plan).finish(trial, make_result(trial), artifacts)

    tracker = Tracker.open(uri, create=False)
    arrays = tracker.arrays(trial.identity, "predictions")
    assert arrays is not None
    np.testing.assert_array_equal(arrays["labels"], np.arange(6))
    assert arrays["correct"].dtype == bool
    assert tracker.arrays(trial.identity, "absent") is None
    assert tracker.arrays("0" * 16, "predictions") is None
    assert not caplog.records
    assert tracker.arrays(trial.identity, "embedding") is None
    assert tracker.arrays(trial.identity, "pickled") is None
    assert ["embedding" in r.getMessage() for r in caplog.records] == [True, False]


def test_structure_names_and_tags(
    uri: str,
    client: MlflowClient,
    plan: Plan,
    make_result: MakeResult,
    artifacts: Path,
    tmp_path: Path,
) -> None:
    tracker = started(uri, plan)
    trial = next(t for t in plan.trials if (t.row, t.variant) == ("lgm(alpha=0.3)", "C100+"))
    tracker.begin(trial)
    tracker.finish(trial, make_result(trial), artifacts)
    tracker.finish_suite("FINISHED")

    parent, child = all_runs(client)
    assert child.data.tags[PARENT] == parent.info.run_id
    assert parent.info.status == child.info.status == "FINISHED"
    assert child.info.run_name == "lgm(alpha=0.3) · C100+ · seed 0"
    expected_params = {
        "loss": "lgm",
        "loss.alpha": "0.3",
        "variant": "C100+",
        "seed": "0",
        "model": "mlp",
        "model.width": "8",
        "recipe.optimizer": "sgd",
        "recipe.optimizer.lr": "0.1",
        "recipe.schedule.milestones": "1, 2",
        "augment": "mirror, random_crop(padding=4)",
        "dataset": "digits",
        "dataset.train_size": "100",
        "data_digest": "d1",
        "threads": "1",
    }
    assert expected_params.items() <= child.data.params.items()
    expected_tags = {
        "lossbench.identity": trial.identity,
        "lossbench.table": plan.table_identity,
        "lossbench.row": "lgm(alpha=0.3)",
        "lossbench.loss": "lgm",
        "lossbench.status": "finished",
        "lossbench.device": "cpu",
        "lossbench.environment.torch": "2.13.0",
    }
    assert expected_tags.items() <= child.data.tags.items()
    last_epoch = make_result(trial).history[-1].metrics
    final = {"error": 100 / 7, "wall_time_sec": 1.5, "peak_memory_mib": 200.0}
    assert child.data.metrics == {**last_epoch, **final}
    files = {file.path for file in client.list_artifacts(child.info.run_id)}
    assert files == {"predictions.npz", "weights.pt", "result.json"}
    assert child.info.artifact_uri.startswith(f"{tmp_path}/mlartifacts/demo/")


def test_the_kept_suite_file_is_a_suite(
    uri: str, client: MlflowClient, plan: Plan, tmp_path: Path
) -> None:
    started(uri, plan)
    [parent] = all_runs(client)
    path = client.download_artifacts(parent.info.run_id, "suite.yaml", str(tmp_path))
    kept = load_suite(path)
    assert kept.losses == [row.loss for row in plan.rows]  # grids expanded, defaults written out
    same = kept.model_copy(update={"losses": plan.suite.losses})
    assert same.model_dump() == plan.suite.model_dump()
    assert "- lgm: {alpha: 0.3}\n" in Path(path).read_text(encoding="utf-8")


def test_one_table_has_one_parent_and_another_recipe_another(
    uri: str, client: MlflowClient, plan: Plan, make_plan: Callable[..., Plan]
) -> None:
    started(uri, plan).finish_suite("KILLED")
    longer = make_plan(losses=["softmax"])  # a row less is the same table
    started(uri, longer)
    [parent] = all_runs(client)
    assert (parent.info.status, parent.data.tags["lossbench.status"]) == ("RUNNING", "running")
    other = make_plan(dataset="mnist")
    started(uri, other)
    assert len(all_runs(client)) == 2


@pytest.mark.parametrize("stopped", [None, "FAILED", "KILLED"])
def test_a_trial_begun_before_is_taken_up_again(
    uri: str,
    client: MlflowClient,
    plan: Plan,
    make_result: MakeResult,
    artifacts: Path,
    stopped: str | None,
) -> None:
    trial = plan.trials[0]
    first = started(uri, plan)
    first.begin(trial)
    if stopped:
        first.stop(trial, stopped, "out of memory")  # type: ignore[arg-type]
        assert all_runs(client)[1].data.tags["lossbench.reason"] == "out of memory"
        assert all_runs(client)[1].info.status == stopped

    # labels are no part of the identity, and may be other ones by now
    renamed = trial.model_copy(update={"row": "cross-entropy", "variant": "flat"})
    second = started(uri, plan)
    second.begin(renamed)
    _, child = all_runs(client)
    assert child.info.status == "RUNNING"
    assert child.data.tags["lossbench.row"] == "cross-entropy"
    assert "lossbench.reason" not in child.data.tags
    second.finish(renamed, make_result(trial), artifacts)
    assert list(second.results([trial])) == [trial.identity]
    assert len(all_runs(client)) == 2


def test_what_is_not_finished_is_no_result(
    uri: str,
    client: MlflowClient,
    plan: Plan,
    make_result: MakeResult,
    artifacts: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracker = started(uri, plan)
    running, failed, killed, cut, missing, swapped, good = plan.trials[:7]
    for trial in (running, failed, killed):
        tracker.begin(trial)
    tracker.stop(failed, "FAILED", "out of memory")
    tracker.stop(killed, "KILLED", "Ctrl-C")
    for trial in (cut, missing, swapped, good):
        tracker.finish(trial, make_result(trial), artifacts)
    files = {
        run.data.tags["lossbench.identity"]: Path(run.info.artifact_uri) / "result.json"
        for run in all_runs(client)[1:]
    }
    files[cut.identity].write_text(
        files[good.identity].read_text(encoding="utf-8")[:100], encoding="utf-8"
    )
    files[missing.identity].unlink()
    shutil.copy(files[good.identity], files[swapped.identity])

    with caplog.at_level(logging.WARNING):
        assert list(tracker.results(plan.trials)) == [good.identity]
    warned = "\n".join(record.getMessage() for record in caplog.records)
    assert len(caplog.records) == 3
    assert "it is missing" in warned
    assert f"it is of trial {good.identity}" in warned
    assert tracker.results(plan.trials[7:]) == {}


def test_of_two_finished_runs_the_earliest_readable_counts(
    uri: str, client: MlflowClient, plan: Plan, make_result: MakeResult, artifacts: Path
) -> None:
    trial = plan.trials[0]
    tracker = started(uri, plan)
    tracker.finish(trial, make_result(trial), artifacts)
    experiment = client.get_experiment_by_name("demo").experiment_id
    later = client.create_run(
        experiment,
        tags={"lossbench.identity": trial.identity},
        start_time=int(time.time() * 1000) + 60_000,
    ).info.run_id
    other = make_result(trial, wall_time_sec=99.0)
    client.log_text(later, other.model_dump_json(), "result.json")
    client.set_terminated(later)
    assert tracker.results([trial])[trial.identity].wall_time_sec == 1.5
    Path(all_runs(client)[1].info.artifact_uri, "result.json").unlink()
    assert tracker.results([trial])[trial.identity].wall_time_sec == 99.0


def test_logging_again_changes_nothing(
    uri: str, client: MlflowClient, plan: Plan, make_result: MakeResult
) -> None:
    trial = plan.trials[0]
    history = make_result(trial).history
    tracker = started(uri, plan)
    tracker.log_epochs(trial, history[:2])
    tracker.log_epochs(trial, history)
    points = client.get_metric_history(all_runs(client)[1].info.run_id, "test_error")
    assert [(p.step, p.timestamp, p.value) for p in points] == [
        (record.epoch, record.timestamp_ms, record.metrics["test_error"]) for record in history
    ]


def test_values_that_mlflow_does_not_take(
    uri: str, client: MlflowClient, plan: Plan, make_result: MakeResult, artifacts: Path
) -> None:
    trial = plan.trials[0].model_copy(
        update={"loss": plan.trials[0].loss.model_copy(update={"params": {"note": "x" * 9000}})}
    )
    many = tuple(  # more than a call may hold, with values that a record itself refuses
        EpochRecord.model_construct(
            epoch=epoch,
            timestamp_ms=1_700_000_000_000 + epoch,
            metrics={"fgsm@0.1 (linf)": epoch / 2, "up": float("inf"), "nan": float("nan")},
        )
        for epoch in range(1, 602)
    )
    tracker = started(uri, plan)
    tracker.log_epochs(trial, many)
    tracker.finish(trial, make_result(trial, reason="y" * 9000), artifacts)
    _, child = all_runs(client)
    assert child.data.metrics["fgsm_0.1 _linf_"] == 300.5
    assert np.isnan(child.data.metrics["nan"])
    assert "up" not in child.data.metrics
    assert len(child.data.params["loss.note"]) < 6000
    assert "sha256" in child.data.params["loss.note"]
    assert tracker.results([trial])[trial.identity].reason == "y" * 9000


def test_a_deleted_experiment_is_said_and_not_hidden(
    uri: str, client: MlflowClient, plan: Plan
) -> None:
    started(uri, plan)
    client.delete_experiment(client.get_experiment_by_name("demo").experiment_id)
    with pytest.raises(TrackingError, match="'demo' was deleted in MLflow"):
        started(uri, plan)


def test_reading_makes_no_experiment(uri: str, client: MlflowClient, plan: Plan) -> None:
    reader = Tracker.open(uri, create=False)
    assert reader.results(plan.trials) == {}
    assert [e.name for e in client.search_experiments()] == ["Default"]


def test_many_trials_are_found_quickly(
    uri: str,
    make_plan: Callable[..., Plan],
    make_result: MakeResult,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = make_plan(seeds=list(range(4)))
    empty = tmp_path / "empty"
    empty.mkdir()
    tracker = started(uri, plan)
    begin = time.perf_counter()
    for trial in plan.trials:
        tracker.finish(trial, make_result(trial), empty)
    logged = time.perf_counter()
    results = Tracker.open(uri, create=False).results(plan.trials)
    found = time.perf_counter()
    assert len(results) == len(plan.trials) == 24
    with capsys.disabled():
        print(f"\n24 trials: logged in {logged - begin:.1f} s, found in {found - logged:.2f} s")
    assert found - logged < 2


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_epochs_of_a_broken_off_trial_do_not_stand_twice(
    uri: str,
    client: MlflowClient,
    plan: Plan,
    make_result: MakeResult,
    artifacts: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    trial = plan.trials[0]
    result = make_result(trial)
    with monkeypatch.context() as patch:
        if where == "elsewhere":
            patch.setattr("lossbench.tracking.store._owner", lambda: "another machine")
        first = started(uri, plan)
        first.begin(trial)
        at_another_time = [
            r.model_copy(update={"timestamp_ms": r.timestamp_ms - 500}) for r in result.history
        ]
        first.log_epochs(trial, at_another_time[:2])  # and then it is killed, or goes on
    second = started(uri, plan)
    second.begin(trial)
    second.finish(trial, result, artifacts)
    [run] = all_runs(client)[1:]
    steps = [p.step for p in client.get_metric_history(run.info.run_id, "test_error")]
    if where == "here":
        assert steps == [1, 2, 3]
    else:  # it may still be at work, so its run is not taken away
        assert sorted(steps) == [1, 1, 2, 2, 3]
        first.finish(trial, result, artifacts)
        assert len(all_runs(client)) == 2


def test_two_machines_that_begin_at_once_share_one_run(
    uri: str, client: MlflowClient, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = plan.trials[0]
    first, second = started(uri, plan), started(uri, plan)
    first.begin(trial)
    find, calls = second._find, []

    def too_early(tags: dict[str, str]) -> object:
        calls.append(tags)
        return None if len(calls) == 1 else find(tags)

    monkeypatch.setattr(second, "_find", too_early)
    monkeypatch.setattr(second, "location", dataclasses.replace(second.location, database=None))
    second.begin(trial)
    assert len(calls) == 2
    [run] = all_runs(client)[1:]
    assert second._begun == first._begun == {trial.identity: run.info.run_id}


def test_points_of_searches_are_kept_with_the_table(uri: str, plan: Plan) -> None:
    first = SearchPoints(loss="lgm", variant="2-D", optuna="5.0.0", points=({"alpha": 0.1},))
    more = first.model_copy(update={"points": ({"alpha": 0.1}, {"alpha": 0.3})})
    other = first.model_copy(update={"variant": "3-D"})
    tracker = Tracker.open(uri)
    tracker.keep_search_points({"a1": first})
    assert tracker.search_points(plan.suite.suite) == {}  # the table's run is not open yet
    tracker.start_suite(plan, {})
    assert tracker.search_points(plan.suite.suite) == {"a1": first}
    tracker.keep_search_points({"a1": more, "b2": other})
    again = Tracker.open(uri)
    assert again.search_points(plan.suite.suite) == {"a1": more, "b2": other}
    assert again.search_points("another suite") == {}
