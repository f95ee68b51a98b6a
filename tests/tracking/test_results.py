"""Results and arrays that are read from runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.tracking.artifacts import read_artifact
from lossbench.tracking.connection import GetClient
from lossbench.tracking.location import Location
from lossbench.tracking.store import Tracker
from lossbench.tracking.stored_run import StoredRun
from tests.tracking.earlier_version import log_as_before
from tests.tracking.started import all_runs, started

pytestmark = pytest.mark.long

MakeResult = Callable[..., TrialResult]


def with_metrics(trial: Trial) -> Trial:
    """The trial with the names of the metrics of its only evaluation."""
    [evaluation] = trial.evaluate
    return trial.model_copy(
        update={"evaluate": (evaluation.model_copy(update={"metrics": ("error",)}),)}
    )


@pytest.mark.parametrize(
    ("right", "constant", "status", "reason"),
    [
        (10, False, "finished", "no better than guessing: right on 10 of 32 images"),
        (16, False, "finished", "no better than guessing: right on 16 of 32 images"),
        (3, False, "diverged", "was right on 3 of 32 images, worse than guessing among 2 classes"),
        (16, True, "diverged", "gave the same class for all 32 images"),
    ],
)
def test_a_divergence_of_an_earlier_version_is_reclassified(
    uri: str,
    client: MlflowClient,
    plan: Plan,
    make_result: MakeResult,
    artifacts: Path,
    tmp_path: Path,
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
    trial = with_metrics(plan.trials[0])
    stored = make_result(trial, status="diverged", reason="ended no better than chance")
    log_as_before(client, trial, stored, artifacts, tmp_path)
    [found] = Tracker.open(uri, create=False).results([trial]).values()
    assert (found.status, found.reason[: len(reason)]) == (status, reason)
    assert found.metrics == stored.metrics


def test_a_divergence_of_an_earlier_version_without_predictions_is_kept(
    uri: str,
    client: MlflowClient,
    plan: Plan,
    make_result: MakeResult,
    artifacts: Path,
    tmp_path: Path,
) -> None:
    (artifacts / "predictions.npz").unlink()
    trial = with_metrics(plan.trials[0])
    stored = make_result(trial, status="diverged", reason="ended no better than chance")
    log_as_before(client, trial, stored, artifacts, tmp_path)
    [found] = Tracker.open(uri, create=False).results([trial]).values()
    assert found.model_copy(update={"measurements": ()}) == stored


def test_arrays_are_unchanged_or_none_if_missing_or_broken(
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
    assert tracker.results([trial])
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


def test_the_earliest_readable_run_is_used(
    uri: str, client: MlflowClient, plan: Plan, make_result: MakeResult, artifacts: Path
) -> None:
    trial = plan.trials[0]
    tracker = started(uri, plan)
    tracker.finish(trial, make_result(trial), artifacts)
    experiment = client.get_experiment_by_name("demo").experiment_id
    later = client.create_run(
        experiment,
        tags={"lossbench.identity": trial.identity, "lossbench.measured": "error"},
        start_time=int(time.time() * 1000) + 60_000,
    ).info.run_id
    other = make_result(trial, wall_time_sec=99.0)
    client.log_text(later, other.model_dump_json(), "result.json")
    client.set_terminated(later)
    assert tracker.results([trial])[trial.identity].wall_time_sec == 1.5
    Path(all_runs(client)[1].info.artifact_uri, "result.json").unlink()
    reader = Tracker.open(uri, create=False)  # the other one has read it
    assert reader.results([trial])[trial.identity].wall_time_sec == 99.0


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


def test_a_result_is_read_once(
    uri: str,
    plan: Plan,
    make_result: MakeResult,
    artifacts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = plan.trials[:2]
    writer = started(uri, plan)
    writer.finish(first, make_result(first), artifacts)
    reads: list[str] = []

    def counted(client: GetClient, location: Location, run: StoredRun, name: str) -> bytes | None:
        reads.append(run.tags["lossbench.identity"])
        return read_artifact(client, location, run, name)

    monkeypatch.setattr("lossbench.tracking.results.read_artifact", counted)
    reader = Tracker.open(uri, create=False)
    before = reader.results(plan.trials)
    assert reader.results(plan.trials) == before == {first.identity: make_result(first)}
    assert reads == [first.identity]
    writer.finish(second, make_result(second), artifacts)  # a change is seen at once
    assert reader.results(plan.trials).keys() == {first.identity, second.identity}
    assert reads == [first.identity, second.identity]
