"""Experiments and runs: search and creation."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from lossbench.errors import TrackingError
from lossbench.planning.plan import Plan
from lossbench.records import TrialResult
from lossbench.tracking.database_runs import read_runs
from lossbench.tracking.location import locate
from lossbench.tracking.runs import Runs
from lossbench.tracking.store import Tracker
from tests.tracking.started import started

pytestmark = pytest.mark.long

MakeResult = Callable[..., TrialResult]
PARENT = "mlflow.parentRunId"


def test_a_deleted_experiment_is_reported(uri: str, client: MlflowClient, plan: Plan) -> None:
    started(uri, plan)
    client.delete_experiment(client.get_experiment_by_name("demo").experiment_id)
    with pytest.raises(TrackingError, match="'demo' was deleted in MLflow"):
        started(uri, plan)


def test_reading_creates_no_experiment(uri: str, client: MlflowClient, plan: Plan) -> None:
    reader = Tracker.open(uri, create=False)
    assert reader.results(plan.trials) == {}
    assert [e.name for e in client.search_experiments()] == ["Default"]


def test_two_machines_that_start_together_share_one_run(uri: str, client: MlflowClient) -> None:
    """On a server there is no lock: both machines find no run and create one."""
    location = dataclasses.replace(locate(uri), database=None)
    machines = [Runs(lambda: MlflowClient(uri, registry_uri=uri), location) for _ in range(2)]
    experiment = client.create_experiment("demo")
    key = {"lossbench.identity": "a"}
    created = []
    for machine in machines:
        created.append(machine.create(experiment, key, {**key, "lossbench.kind": "trial"}, "name"))
        time.sleep(0.01)  # the start times differ
    [run] = client.search_runs([experiment])
    assert {made.run_id for made in created} == {run.info.run_id}


def test_a_database_is_searched_again_only_after_a_change(
    uri: str,
    plan: Plan,
    make_result: MakeResult,
    artifacts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer = started(uri, plan)
    searches: list[str] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        searches.append(str(arguments[1]))
        return read_runs(*arguments, **options)

    reader = Tracker.open(uri, create=False)
    monkeypatch.setattr("lossbench.tracking.runs.read_runs", counted)
    for _ in range(3):
        assert reader.results(plan.trials) == {}
    assert len(searches) == 2  # the own suite, and the others
    trial = plan.trials[0]
    writer.finish(trial, make_result(trial), artifacts)
    searches.clear()
    for _ in range(3):
        assert reader.results(plan.trials) == {trial.identity: make_result(trial)}
    assert len(searches) == 1  # the others are searched once a minute
    searches.clear()
    assert Tracker.open(uri, create=False).results([trial]).keys() == {trial.identity}
    assert len(searches) == 1  # nothing is missing that other suites may have
