"""Trained networks and their measurements, in all suites of a store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from lossbench.errors import TrackingError
from lossbench.planning.plan import Plan
from lossbench.planning.result_files import array_file
from lossbench.planning.trial import PlannedEvaluation, Trial
from lossbench.records import TrialResult
from lossbench.tracking.store import Tracker
from tests.synthetic_measurements import measurements_of
from tests.tracking.earlier_version import identity_of, log_as_before, specification
from tests.tracking.started import started

pytestmark = pytest.mark.long

MakePlan = Callable[..., Plan]
MakeResult = Callable[..., TrialResult]
ERROR = PlannedEvaluation(name="error", metrics=("error",))
FGSM = PlannedEvaluation(name="fgsm", params={"epsilons": [0.1]}, metrics=("fgsm_0.1_error",))
KNN = PlannedEvaluation(name="knn", metrics=("knn_error",))
VALUES = {"error": 5.0, "fgsm_0.1_error": 7.0, "knn_error": 9.0}


def trial_of(plan: Plan, *evaluations: PlannedEvaluation) -> Trial:
    return plan.trials[0].model_copy(update={"evaluate": evaluations})


@pytest.fixture
def finish(make_result: MakeResult, tmp_path: Path) -> Callable[..., TrialResult]:
    """Log a trial, each of whose evaluations has an array; return the result."""

    def finish(tracker: Tracker, trial: Trial, weights: str = "w1", **changes: Any) -> TrialResult:
        folder = tmp_path / f"files of {trial.suite} {len(list(tmp_path.iterdir()))}"
        names = {e.name for e in trial.evaluate}
        metrics = {k: v for k, v in VALUES.items() if k.partition("_")[0] in names}
        records = [
            record.model_copy(update={"artifacts": (record.name,)})
            for record in measurements_of(trial, changes.pop("metrics", metrics))
        ]
        result = make_result(
            trial,
            metrics={k: v for record in records for k, v in record.metrics.items()},
            measurements=tuple(records),
            weights_digest=weights,
            **changes,
        )
        for record in records:
            file = folder / array_file(record.identity, record.name)
            file.parent.mkdir(parents=True)
            np.savez(file, values=np.arange(3) + len(record.name))
        np.savez(folder / "predictions.npz", labels=np.arange(6))
        (folder / "weights.pt").write_bytes(weights.encode())
        (folder / "trial.json").write_text(trial.model_dump_json(), encoding="utf-8")
        tracker.finish(trial, result, folder)
        return result

    return finish


def runs_of(client: MlflowClient, suite: str) -> list[Run]:
    """Runs of the trials of a suite, the earliest first."""
    experiment = client.get_experiment_by_name(suite)
    if experiment is None:
        return []
    condition = "tags.`lossbench.kind` = 'trial'"
    order = ["attributes.start_time ASC"]
    return list(client.search_runs([experiment.experiment_id], condition, order_by=order))


def stored_result(run: Run) -> TrialResult:
    text = Path(run.info.artifact_uri, "result.json").read_text(encoding="utf-8")
    return TrialResult.model_validate_json(text)


def files_of(run: Run) -> set[str]:
    root = Path(run.info.artifact_uri)
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_training_of_another_suite_is_found_and_copied(
    uri: str,
    client: MlflowClient,
    make_plan: MakePlan,
    finish: Callable[..., TrialResult],
    tmp_path: Path,
) -> None:
    made = trial_of(make_plan(title="An older one"), ERROR, FGSM)
    first = started(uri, make_plan())
    first.begin(made)
    stored = finish(first, made)
    [origin] = runs_of(client, "demo")

    plan = make_plan(suite="other")
    trial = trial_of(plan, ERROR, FGSM).model_copy(update={"row": "another label"})
    tracker = Tracker.open(uri)
    assert tracker.results([trial]) == {trial.identity: stored}
    assert tracker.is_elsewhere("other", [trial])
    tracker.start_suite(plan, {})
    assert tracker.adopt([trial]) == {"demo": 1}

    [run] = runs_of(client, "other")
    assert run.info.status == "FINISHED"
    expected_tags = {
        "lossbench.origin": origin.info.run_id,
        "lossbench.origin_suite": "demo",
        "lossbench.suite": "other",
        "lossbench.row": "another label",
        "lossbench.measured": "error, fgsm",
        "lossbench.status": "finished",
        "lossbench.device": "cpu",
    }
    assert expected_tags.items() <= run.data.tags.items()
    assert run.data.params["suite"] == "other"
    assert run.data.params.items() >= {"loss": "softmax", "seed": "0", "data_digest": "d1"}.items()
    assert run.data.metrics == origin.data.metrics
    curves = [client.get_metric_history(r.info.run_id, "test_error") for r in (origin, run)]
    points = [[(p.step, p.timestamp, p.value) for p in curve] for curve in curves]
    assert points[0] == points[1]
    assert len(points[0]) == 3
    assert files_of(run) == files_of(origin) - {"weights.pt"}
    assert stored_result(run) == stored

    again = Tracker.open(uri)
    assert again.results([trial]) == {trial.identity: stored}
    assert not again.is_elsewhere("other", [trial])
    again.start_suite(plan, {})
    assert again.adopt([trial]) == {}
    arrays = again.arrays(trial.identity, "fgsm")
    assert arrays is not None
    assert arrays["values"].tolist() == [4, 5, 6]
    # the weights are those of the origin
    assert again.has_weights(trial)
    again.copy_training(trial, tmp_path / "copy")
    assert (tmp_path / "copy" / "weights.pt").read_bytes() == b"w1"
    client.delete_run(origin.info.run_id)
    Path(origin.info.artifact_uri, "weights.pt").unlink()
    later = Tracker.open(uri)
    assert later.results([trial]) == {trial.identity: stored}
    assert not later.has_weights(trial)


def test_a_copy_of_a_copy_names_the_first_run(
    uri: str, client: MlflowClient, make_plan: MakePlan, finish: Callable[..., TrialResult]
) -> None:
    finish(started(uri, make_plan()), trial_of(make_plan(), ERROR))
    [origin] = runs_of(client, "demo")
    for suite in ("second", "third"):
        plan = make_plan(suite=suite)
        tracker = started(uri, plan)
        tracker.results([trial_of(plan, ERROR)])
        assert sum(tracker.adopt([trial_of(plan, ERROR)]).values()) == 1
        [run] = runs_of(client, suite)
        assert run.data.tags["lossbench.origin"] == origin.info.run_id


def test_a_failure_while_files_are_read_is_an_error_of_the_store(
    uri: str,
    make_plan: MakePlan,
    finish: Callable[..., TrialResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trial = trial_of(make_plan(), ERROR)
    finish(started(uri, make_plan()), trial)
    tracker = Tracker.open(uri, create=False)
    tracker.results([trial])

    def fail(*_: object) -> bytes:
        raise MlflowException("Connection refused")

    monkeypatch.setattr("lossbench.tracking.artifacts.read_artifact", fail)
    with pytest.raises(TrackingError, match=r": read file failed: Connection refused$"):
        list(tracker.files(trial))


def test_reading_writes_nothing(
    uri: str, make_plan: MakePlan, finish: Callable[..., TrialResult], tmp_path: Path
) -> None:
    finish(started(uri, make_plan()), trial_of(make_plan(), ERROR))
    before = snapshot(tmp_path)
    plan = make_plan(suite="other")
    trial = trial_of(plan, ERROR, FGSM)
    reader = Tracker.open(uri, create=False)
    assert reader.results([trial])[trial.identity].unmeasured == ("fgsm",)
    assert reader.arrays(trial.identity, "error") is not None
    assert reader.has_weights(trial)
    assert reader.is_elsewhere("other", [trial])
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("weights", ["w1", "w2"])
def test_measurements_of_two_suites_are_put_together_only_for_the_same_network(
    uri: str,
    client: MlflowClient,
    make_plan: MakePlan,
    finish: Callable[..., TrialResult],
    weights: str,
) -> None:
    plans = [make_plan(), make_plan(suite="other"), make_plan(suite="third")]
    finish(started(uri, plans[0]), trial_of(plans[0], ERROR))
    other = started(uri, plans[1])
    other.begin(trial_of(plans[1], FGSM, KNN))  # trained again
    finish(other, trial_of(plans[1], FGSM, KNN), weights)
    trial = trial_of(plans[2], ERROR, FGSM, KNN)
    tracker = started(uri, plans[2])
    found = tracker.results([trial])[trial.identity]
    if weights == "w1":
        assert (found.unmeasured, found.metrics) == ((), VALUES)
    else:  # the network with the most measurements
        assert found.unmeasured == ("error",)
        assert found.metrics == {k: v for k, v in VALUES.items() if k != "error"}
        assert found.weights_digest == "w2"
    assert tracker.adopt([trial]) == {"demo" if weights == "w1" else "other": 1}
    [run] = runs_of(client, "third")
    assert stored_result(run).metrics == found.metrics
    names = ["error", "fgsm", "knn"] if weights == "w1" else ["fgsm", "knn"]
    assert [tracker.arrays(trial.identity, name) is not None for name in names] == [True] * len(
        names
    )


def test_a_measurement_that_is_added_later_is_in_the_same_run(
    uri: str, client: MlflowClient, make_plan: MakePlan, finish: Callable[..., TrialResult]
) -> None:
    first, whole = trial_of(make_plan(), ERROR), trial_of(make_plan(), FGSM, ERROR)
    finish(started(uri, make_plan()), first)
    [before] = runs_of(client, "demo")
    tracker = started(uri, make_plan())
    assert tracker.results([whole])[whole.identity].unmeasured == ("fgsm",)
    expected = finish(tracker, whole)
    [run] = runs_of(client, "demo")
    assert run.info.run_id == before.info.run_id
    assert run.info.status == "FINISHED"
    result = stored_result(run)
    assert {record.name for record in result.measurements} == {"error", "fgsm"}
    assert result.metrics == {"error": 5.0, "fgsm_0.1_error": 7.0}
    assert run.data.metrics == {**before.data.metrics, "fgsm_0.1_error": 7.0}
    assert set(run.data.tags["lossbench.measured"].split(", ")) == {"error", "fgsm"}
    curve = client.get_metric_history(run.info.run_id, "test_error")
    assert [point.step for point in curve] == [1, 2, 3]
    reader = Tracker.open(uri, create=False)
    assert reader.results([whole]) == tracker.results([whole]) == {whole.identity: expected}
    assert reader.arrays(whole.identity, "fgsm") is not None
    assert reader.arrays(whole.identity, "error") is not None


def test_measurements_of_another_process_are_kept(
    uri: str, client: MlflowClient, make_plan: MakePlan, finish: Callable[..., TrialResult]
) -> None:
    finish(started(uri, make_plan()), trial_of(make_plan(), ERROR))
    one, other = started(uri, make_plan()), started(uri, make_plan())
    for tracker in (one, other):
        tracker.results([trial_of(make_plan(), ERROR, FGSM, KNN)])
    finish(one, trial_of(make_plan(), ERROR, FGSM))
    finish(other, trial_of(make_plan(), ERROR, KNN))  # which knows nothing of the first
    [run] = runs_of(client, "demo")
    assert stored_result(run).metrics == VALUES


def test_a_network_that_is_trained_again_has_a_run_of_its_own(
    uri: str, client: MlflowClient, make_plan: MakePlan, finish: Callable[..., TrialResult]
) -> None:
    finish(started(uri, make_plan()), trial_of(make_plan(), ERROR))
    whole = trial_of(make_plan(), ERROR, FGSM)
    again = started(uri, make_plan())
    again.begin(whole)
    finish(again, whole, "w2", metrics={"error": 6.0, "fgsm_0.1_error": 8.0})
    assert [stored_result(run).weights_digest for run in runs_of(client, "demo")] == ["w1", "w2"]
    found = Tracker.open(uri, create=False).results([whole])[whole.identity]
    assert found.metrics == {"error": 6.0, "fgsm_0.1_error": 8.0}
    only_error = trial_of(make_plan(), ERROR)
    found = Tracker.open(uri, create=False).results([only_error])[only_error.identity]
    assert found.metrics == {"error": 5.0}  # the earliest network with all that is asked for


def test_results_of_an_earlier_version_are_carried_over(
    uri: str,
    client: MlflowClient,
    make_plan: MakePlan,
    make_result: MakeResult,
    finish: Callable[..., TrialResult],
    artifacts: Path,
    tmp_path: Path,
) -> None:
    plan = make_plan()
    old = trial_of(plan, ERROR, FGSM)
    np.savez(artifacts / "fgsm.npz", values=np.arange(2))
    values = {"error": 5.0, "fgsm_0.1_error": 7.0}
    earlier = make_result(old, metrics=values)
    run_id = log_as_before(client, old, earlier, artifacts, tmp_path)
    assert identity_of(specification(old)) != old.identity

    whole = trial_of(plan, KNN, FGSM, ERROR)
    tracker = Tracker.open(uri)
    found = tracker.results([old, whole])
    assert found[whole.identity].metrics == values
    assert found[whole.identity].unmeasured == ("knn",)
    assert tracker.results([old])[old.identity].unmeasured == ()
    assert tracker.results([old])[old.identity].history == earlier.history
    assert tracker.arrays(old.identity, "fgsm") is not None
    assert tracker.has_weights(whole)
    assert not tracker.is_elsewhere("demo", [old, whole])

    tracker.start_suite(plan, {})
    tracker.results([whole])
    tracker.copy_training(whole, tmp_path / "copy")
    copied = TrialResult.model_validate_json(
        (tmp_path / "copy" / "result.json").read_text(encoding="utf-8")
    )
    assert copied.metrics == values
    finish(tracker, whole)
    [run] = runs_of(client, "demo")
    assert run.info.run_id == run_id
    assert run.data.tags["lossbench.identity"] == whole.identity
    assert set(run.data.tags["lossbench.measured"].split(", ")) == {"error", "fgsm", "knn"}
    for trial in (old, whole):
        [result] = Tracker.open(uri, create=False).results([trial]).values()
        assert result.unmeasured == ()
    assert result.metrics == VALUES


def test_a_result_of_an_earlier_version_in_another_suite_is_copied(
    uri: str,
    client: MlflowClient,
    make_plan: MakePlan,
    make_result: MakeResult,
    artifacts: Path,
    tmp_path: Path,
) -> None:
    old = trial_of(make_plan(), ERROR)
    run_id = log_as_before(
        client, old, make_result(old, metrics={"error": 5.0}), artifacts, tmp_path
    )
    plan = make_plan(suite="other")
    trial = trial_of(plan, ERROR)
    tracker = started(uri, plan)
    assert tracker.results([trial])[trial.identity].metrics == {"error": 5.0}
    assert tracker.adopt([trial]) == {"demo": 1}
    [run] = runs_of(client, "other")
    assert run.data.tags["lossbench.origin"] == run_id
    stored = json.loads(Path(run.info.artifact_uri, "trial.json").read_text(encoding="utf-8"))
    assert stored["suite"] == "other"
    assert stored_result(run).identity == trial.identity
    reader = Tracker.open(uri, create=False)
    found = reader.results([trial])[trial.identity]
    assert (found.metrics, found.unmeasured) == ({"error": 5.0}, ())
    assert not reader.is_elsewhere("other", [trial])
    assert reader.stored_result(trial) == found  # as it is exported


def test_results_of_other_data_are_not_used(
    uri: str, client: MlflowClient, make_plan: MakePlan, make_result: MakeResult, artifacts: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    old = trial_of(make_plan(), ERROR).model_copy(update={"data_digest": "d2"})
    log_as_before(client, old, make_result(old), artifacts, tmp_path)
    assert Tracker.open(uri, create=False).results([trial_of(make_plan(), ERROR)]) == {}
