"""Stored weights of a suite: their number and size, their deletion, and who depends on them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.errors import RequestError, TrackingError
from lossbench.planning.plan import Plan
from lossbench.records import TrialResult
from lossbench.tracking.store import Tracker
from lossbench.tracking.stored_weights import WeightsStore

Fill = Callable[..., None]
SIZE = len(b"weights")


@pytest.fixture
def fill(make_result: Callable[..., TrialResult], artifacts: Path) -> Fill:
    """Store results of all trials of a plan, or copy those of another suite."""

    def fill(uri: str, plan: Plan) -> None:
        tracker = Tracker.open(uri)
        known = tracker.results(plan.trials)
        tracker.start_suite(plan, {})
        for trial in plan.trials:
            if trial.identity not in known:
                tracker.finish(trial, make_result(trial), artifacts)
        tracker.adopt(plan.trials)
        tracker.finish_suite("FINISHED")

    return fill


def test_a_suite_is_pruned_and_its_results_stay(uri: str, plan: Plan, fill: Fill) -> None:
    fill(uri, plan)
    store = WeightsStore.open(uri)
    found = store.find("demo")
    count = len(plan.trials)
    assert (len(found.runs), found.total_bytes) == (count, count * SIZE)
    assert (found.users, found.origins) == ({}, {})
    tracker = Tracker.open(uri)
    before = tracker.results(plan.trials)
    assert all(map(tracker.has_weights, plan.trials))

    store.delete_weights(found)
    assert store.find("demo").runs == ()
    tracker = Tracker.open(uri)
    assert tracker.results(plan.trials) == before
    assert not any(map(tracker.has_weights, plan.trials))
    arrays = tracker.arrays(plan.trials[0].identity, "predictions")
    assert arrays is not None


def test_only_some_cells_are_pruned(uri: str, plan: Plan, fill: Fill) -> None:
    fill(uri, plan)
    store, seeds = WeightsStore.open(uri), len(plan.suite.seeds)
    cells = {"softmax": 2, "2-D/*": 3, "2-D/lgm*": 2, "lgm": 4, "lgm(alpha=0.1)": 2}
    found = {only: len(store.find("demo", only).runs) for only in cells}
    assert found == {only: count * seeds for only, count in cells.items()}
    store.delete_weights(store.find("demo", "2-D/lgm*"))
    assert len(store.find("demo").runs) == len(plan.trials) - 2 * seeds
    assert store.find("demo", "2-D/lgm*").runs == ()
    assert len(store.find("demo", "2-D/softmax").runs) == seeds


def test_unknown_suites_and_cells_are_refused(uri: str, plan: Plan, fill: Fill) -> None:
    fill(uri, plan)
    store = WeightsStore.open(uri)
    with pytest.raises(RequestError, match="has no trials of suite 'demmo'; did you mean 'demo'"):
        store.find("demmo")
    with pytest.raises(RequestError, match=r"--only 3-D/\*: matches no cell of .*2-D/softmax"):
        store.find("demo", "3-D/*")


def test_copies_depend_on_the_weights_of_the_original(
    uri: str, plan: Plan, make_plan: Callable[..., Plan], fill: Fill
) -> None:
    fill(uri, plan)
    copy = make_plan(suite="copy", losses=["softmax"])
    fill(uri, copy)
    store = WeightsStore.open(uri)
    assert store.suites() == ["copy", "demo"]
    copied = len(copy.trials)
    assert store.find("demo").users == {"copy": copied}
    assert store.find("demo", "lgm").users == {}
    found = store.find("copy")
    assert (found.runs, found.origins) == ((), {"demo": copied})
    store.delete_weights(found)
    tracker = Tracker.open(uri)
    tracker.results(copy.trials)
    assert all(map(tracker.has_weights, copy.trials))


def test_a_copied_database_never_deletes_the_weights_of_the_original(
    tmp_path: Path, uri: str, plan: Plan, fill: Fill
) -> None:
    fill(uri, plan)
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "copy")  # without its files
    store = WeightsStore.open(f"sqlite:///{tmp_path}/copy/mlflow.db")
    found = store.find("demo")
    assert found.runs == ()
    store.delete_weights(found)
    assert len(WeightsStore.open(uri).find("demo").runs) == len(plan.trials)


def test_a_missing_store_is_refused(fresh_uri: str) -> None:
    with pytest.raises(TrackingError, match="nothing has been run here yet"):
        WeightsStore.open(fresh_uri)


@pytest.mark.long
def test_weights_on_a_server_are_deleted_through_it(
    server: str, make_plan: Callable[..., Plan], fill: Fill
) -> None:
    plan = make_plan(suite="on_server", losses=[{"lgm": {"alpha": 0.55}}])
    fill(server, plan)
    store = WeightsStore.open(server)
    found = store.find("on_server")
    count = len(plan.trials)
    assert (len(found.runs), found.total_bytes) == (count, count * SIZE)
    store.delete_weights(found)
    assert store.find("on_server").runs == ()
    tracker = Tracker.open(server)
    assert len(tracker.results(plan.trials)) == count
    assert not any(map(tracker.has_weights, plan.trials))
    assert tracker.arrays(plan.trials[0].identity, "predictions") is not None


@pytest.mark.long
def test_storage_whose_files_mlflow_cannot_delete_gets_one_message(
    server: str,
    make_plan: Callable[..., Plan],
    fill: Fill,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = make_plan(suite="kept", losses=[{"lgm": {"alpha": 0.66}}])
    fill(server, plan)

    def refuse(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(
        "mlflow.store.artifact.http_artifact_repo.HttpArtifactRepository.delete_artifacts", refuse
    )
    store = WeightsStore.open(server)
    with pytest.raises(TrackingError, match="MLflow cannot delete files in mlflow-artifacts"):
        store.delete_weights(store.find("kept"))
    assert len(store.find("kept").runs) == len(plan.trials)
