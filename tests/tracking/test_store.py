"""The tracker on a real sqlite database."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from lossbench.errors import RequestError
from lossbench.planning.look_record import LookRecord, LookRound
from lossbench.planning.plan import Plan
from lossbench.planning.search import SearchPoints
from lossbench.planning.trial import PlannedEvaluation
from lossbench.records import EpochRecord, TrialResult
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker
from tests.tracking.started import all_runs, run_id_of, started

pytestmark = pytest.mark.long

MakeResult = Callable[..., TrialResult]
PARENT = "mlflow.parentRunId"


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


def test_structure_names_and_tags_of_runs(
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


def test_the_stored_suite_file_is_a_suite(
    uri: str, client: MlflowClient, plan: Plan, tmp_path: Path
) -> None:
    started(uri, plan)
    [parent] = all_runs(client)
    path = client.download_artifacts(parent.info.run_id, "suite.yaml", str(tmp_path))
    kept = load_suite(path)
    # grids expanded, defaults written out
    assert [loss.loss for loss in kept.losses] == [row.loss for row in plan.rows]
    same = kept.model_copy(update={"losses": plan.suite.losses})
    assert same.model_dump() == plan.suite.model_dump()
    assert "- lgm: {alpha: 0.3}\n" in Path(path).read_text(encoding="utf-8")


def test_each_table_has_one_parent_run(
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
def test_the_run_of_an_interrupted_trial_is_reopened(
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

    # labels are not part of the identity and may change
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


def test_an_unfinished_trial_has_no_result(
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


def test_mlflow_shows_the_value_that_was_measured_last(
    uri: str,
    client: MlflowClient,
    plan: Plan,
    make_result: MakeResult,
    artifacts: Path,
) -> None:
    """The parameters of an evaluation are changed, and its metric keeps its name."""
    trial = plan.trials[0]
    run_id = ""
    for steps, value in ((1, 50.0), (2, 40.0)):
        attack = PlannedEvaluation(name="pgd", params={"steps": steps}, metrics=("pgd_error",))
        changed = trial.model_copy(update={"evaluate": (attack,)})
        tracker = started(uri, plan)
        tracker.results([changed])
        result = make_result(changed, metrics={"pgd_error": value}, weights_digest="w")
        tracker.finish(changed, result, artifacts)
        run_id = run_id_of(client, changed)
        assert client.get_run(run_id).data.metrics["pgd_error"] == value
    assert len(client.get_metric_history(run_id, "pgd_error")) == 2


def test_values_that_mlflow_does_not_accept(
    uri: str, client: MlflowClient, plan: Plan, make_result: MakeResult, artifacts: Path
) -> None:
    trial = plan.trials[0].model_copy(
        update={"loss": plan.trials[0].loss.model_copy(update={"params": {"note": "x" * 9000}})}
    )
    many = tuple(  # more than the limit per call, with values that records do not accept
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


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_epochs_of_an_aborted_trial_are_logged_once(
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
            patch.setattr("platform.node", lambda: "another machine")
        first = started(uri, plan)
        first.begin(trial)
        at_another_time = [
            r.model_copy(update={"timestamp_ms": r.timestamp_ms - 500}) for r in result.history
        ]
        first.log_epochs(trial, at_another_time[:2])  # then it is killed, or continues
    second = started(uri, plan)
    second.begin(trial)
    second.finish(trial, result, artifacts)
    [run] = all_runs(client)[1:]
    steps = [p.step for p in client.get_metric_history(run.info.run_id, "test_error")]
    if where == "here":
        assert steps == [1, 2, 3]
    else:  # it may still be running, so its run is kept
        assert sorted(steps) == [1, 1, 2, 2, 3]
        first.finish(trial, result, artifacts)
        assert len(all_runs(client)) == 2


def test_points_of_searches_are_stored_with_the_table(uri: str, plan: Plan) -> None:
    first = SearchPoints(loss="lgm", variant="2-D", optuna="5.0.0", points=({"alpha": 0.1},))
    more = first.model_copy(update={"points": ({"alpha": 0.1}, {"alpha": 0.3})})
    other = first.model_copy(update={"variant": "3-D"})
    tracker = Tracker.open(uri)
    tracker.kept.keep_search_points({"a1": first})
    assert tracker.search_points(plan.suite.suite) == {}  # the table's run is not open yet
    tracker.start_suite(plan, {})
    assert tracker.search_points(plan.suite.suite) == {"a1": first}
    tracker.kept.keep_search_points({"a1": more, "b2": other})
    again = Tracker.open(uri)
    assert again.search_points(plan.suite.suite) == {"a1": more, "b2": other}
    assert again.search_points("another suite") == {}


def test_records_of_looks_are_stored_with_the_table(uri: str, plan: Plan) -> None:
    first = LookRecord(
        table="a" * 16,
        metric="error",
        max_seeds=5,
        rounds=(LookRound(seeds=(0, 1), cells=("c" * 16,)),),
    )
    longer = first.model_copy(
        update={"rounds": (*first.rounds, LookRound(seeds=(2,), cells=("c" * 16,)))}
    )
    key, suite = first.identity, plan.suite.suite
    tracker = Tracker.open(uri)
    tracker.kept.keep_look_records({key: first})
    assert tracker.look_records(suite) == {}  # the table's run is not open yet
    tracker.start_suite(plan, {})
    assert tracker.look_records(suite) == {key: first}
    behind = Tracker.open(uri)  # another process, one round behind
    behind.start_suite(plan, {})
    tracker.kept.keep_look_records({key: longer})
    behind.kept.keep_look_records({key: first})
    assert Tracker.open(uri).look_records(suite) == {key: longer}
    other = first.model_copy(update={"max_seeds": 9})
    shown = replace(behind.location, display_uri="without password")
    behind.kept.location = shown
    message = "^without password: has another record .* 2 rounds up to 5 seeds; it stays"
    with pytest.raises(RequestError, match=message):
        behind.kept.keep_look_records({key: other})
    assert Tracker.open(uri).look_records(suite) == {key: longer}
    [stored] = (Path(uri.removeprefix("sqlite:///")).parent).rglob(f"looks-{key}.json")
    newer = stored.read_text(encoding="utf-8").replace("{", '{"of_a_newer_version": 1,', 1)
    stored.write_text(newer, encoding="utf-8")
    with pytest.raises(RequestError, match="cannot be read by this version"):
        behind.kept.keep_look_records({key: other})
    assert stored.read_text(encoding="utf-8") == newer
