"""Runs and experiments read from a database without MLflow: the same as MLflow's client returns."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lossbench.planning.plan import Plan
from lossbench.records import TrialResult
from lossbench.tracking import names
from lossbench.tracking.database_runs import read_experiments, read_run, read_runs, read_values
from lossbench.tracking.location import locate
from lossbench.tracking.runs import Runs
from lossbench.tracking.store import Tracker
from lossbench.tracking.stored_run import StoredRun, stored_experiment, stored_run
from tests.tracking.earlier_version import log_as_before
from tests.tracking.started import all_runs, run_id_of, started

pytestmark = pytest.mark.long

MakeResult = Callable[..., TrialResult]


@pytest.fixture
def database(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///"))


@pytest.fixture
def store(
    uri: str,
    client: MlflowClient,
    plan: Plan,
    make_result: MakeResult,
    artifacts: Path,
    tmp_path: Path,
) -> MlflowClient:
    """A store with a finished and a failed run, one with plugin code and one of before."""
    tracker = started(uri, plan)
    ended, failed, coded, before, deleted = plan.trials[:5]
    coded = coded.model_copy(update={"sources": {"loss softmax": "0123456789abcdef"}})
    for trial in (ended, coded, deleted):
        tracker.finish(trial, make_result(trial), artifacts)
    tracker.begin(failed)
    tracker.stop(failed, "FAILED", "out of memory")
    log_as_before(client, before, make_result(before), artifacts, tmp_path)
    client.delete_run(run_id_of(client, deleted))
    client.log_metric(run_id_of(client, ended), "nan", math.nan)
    client.log_metric(run_id_of(client, ended), "curve", 1.0, step=1)
    client.log_metric(run_id_of(client, ended), "curve", 2.0, step=2)
    return client


def test_runs_are_those_of_mlflows_client(store: MlflowClient, database: Path) -> None:
    [experiment] = [e for e in store.search_experiments() if e.name == "demo"]
    conditions = {None: "", True: "status = 'FINISHED'", False: "status != 'FINISHED'"}
    for finished, condition in conditions.items():
        expected = [
            _as_read(stored_run(run))
            for run in store.search_runs(
                [experiment.experiment_id], condition, order_by=["attributes.start_time ASC"]
            )
        ]
        assert len(expected) == {None: 5, True: 3, False: 2}[finished]
        assert read_runs(database, [experiment.experiment_id], {}, finished=finished) == expected
    for run in all_runs(store):
        assert read_run(database, run.info.run_id) == _as_read(stored_run(run))
    assert read_run(database, "0" * 32) is None


def _as_read(run: StoredRun) -> StoredRun:
    """The run without the parameters that no lookup needs."""
    needed = names.MEASURED not in run.tags or any(k.startswith(names.SOURCES) for k in run.params)
    params = run.params if needed else {}
    return StoredRun(**{**vars(run), "params": params})


def test_runs_are_found_by_all_their_tags(store: MlflowClient, database: Path, plan: Plan) -> None:
    [experiment] = [e.experiment_id for e in store.search_experiments() if e.name == "demo"]
    trial = plan.trials[0]
    tags = {names.IDENTITY: trial.identity, names.SEED: str(trial.seed)}
    [found] = read_runs(database, [experiment], tags)
    assert found.run_id == run_id_of(store, trial)
    assert read_runs(database, [experiment], {**tags, names.SEED: "7"}) == []
    assert read_runs(database, ["0"], tags) == []


def test_values_are_those_of_mlflows_client(
    store: MlflowClient, database: Path, plan: Plan
) -> None:
    run = store.get_run(run_id_of(store, plan.trials[0]))
    values = read_values(database, run.info.run_id)
    assert values.params == run.data.params
    assert values.metrics["curve"] == 2.0
    assert values.metrics == pytest.approx(run.data.metrics, rel=0, abs=0, nan_ok=True)


def test_experiments_are_those_of_mlflows_client(store: MlflowClient, database: Path) -> None:
    store.delete_experiment(store.create_experiment("deleted", tags={"a": "b"}))
    found = {each.name: each for each in read_experiments(database)}
    assert found.keys() == {"Default", "demo", "deleted"}
    for name, experiment in found.items():
        assert experiment == stored_experiment(store.get_experiment_by_name(name))
    elsewhere = Runs(lambda: store, locate(f"sqlite:///{database}")).finished((), elsewhere=True)
    assert {run.experiment_id for run in elsewhere} == {found["demo"].experiment_id}


def test_a_deleted_and_restored_run(
    uri: str, client: MlflowClient, plan: Plan, make_result: MakeResult, artifacts: Path
) -> None:
    trial, reader = plan.trials[0], Tracker.open(uri)
    started(uri, plan).finish(trial, make_result(trial), artifacts)
    run = run_id_of(client, trial)
    for _ in range(2):
        assert reader.results([trial]).keys() == {trial.identity}
        client.delete_run(run)
        assert reader.results([trial]) == {}
        client.restore_run(run)


def test_results_are_read_without_mlflow(
    uri: str, plan: Plan, make_result: MakeResult, artifacts: Path
) -> None:
    """Its import takes seconds, also for a tracker that may write."""
    tracker, trial = started(uri, plan), plan.trials[0]
    tracker.finish(trial, make_result(trial), artifacts)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from lossbench.planning.trial import Trial\n"
        "from lossbench.tracking.store import Tracker\n"
        "trial = Trial.model_validate_json(sys.stdin.read())\n"
        "for create in (False, True):\n"
        "    tracker = Tracker.open(sys.argv[1], create=create)\n"
        "    assert tracker.results([trial]).keys() == {trial.identity}\n"
        "    assert tracker.arrays(trial.identity, 'predictions') is not None\n"
        "    assert tracker.has_weights(trial)\n"
        "    assert tracker.look_records('demo') == tracker.search_points('demo') == {}\n"
        "print([m for m in ('mlflow', 'sqlalchemy', 'torch') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, uri],
        input=trial.model_dump_json(),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
