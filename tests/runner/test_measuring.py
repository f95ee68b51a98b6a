"""Evaluations that are added later: what is measured, and what has to be trained again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from lossbench.assembly.check import check
from lossbench.errors import RequestError, TrackingError
from lossbench.planning.plan import Plan
from lossbench.planning.selection import load_plan_with_results
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.runner.outbox import Outbox
from lossbench.runner.outcome import RunOutcome
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker
from tests.runner.fake_runs import NOWHERE, WorkFolder

pytestmark = pytest.mark.long

MORE = "evaluate=[error, top5_error]"
MakePlan = Callable[..., Plan]


@pytest.fixture
def plan_of(write_suite: Callable[..., Path]) -> MakePlan:
    def make(*overrides: str, name: str = "small", seeds: str = "[0]") -> Plan:
        path = write_suite(("suite: small", f"suite: {name}"))
        return check(load_suite(path, [f"seeds={seeds}", *overrides]), NOWHERE)

    return make


def refuse(trials: Sequence[Trial]) -> None:
    raise RequestError(f"{len(trials)} trials would be trained again")


def results_of(folder: WorkFolder, plan: Plan) -> list[TrialResult]:
    found = folder.tracker().results(plan.trials)
    return [found[trial.identity] for trial in plan.trials]


def runs_of(folder: WorkFolder, suite: str = "small") -> list[Run]:
    client = MlflowClient(folder.uri, registry_uri=folder.uri)
    experiment = client.get_experiment_by_name(suite)
    condition = "tags.`lossbench.kind` = 'trial'"
    return list(client.search_runs([experiment.experiment_id], condition))


def test_an_evaluation_that_is_added_is_measured_without_training(
    folder: WorkFolder, plan_of: MakePlan
) -> None:
    folder.run(plan_of())
    assert len(folder.trained) == 3
    outcome = folder.run(plan_of(MORE), confirm_retraining=refuse)
    assert outcome == RunOutcome(started=3)
    assert len(folder.trained) == 3
    assert [t.row for t in folder.measured] == [t.row for t in plan_of().trials]
    for result in results_of(folder, plan_of(MORE)):
        assert result.metrics == {"error": 9.0, "top5_error": 7.0}
        assert result.unmeasured == ()
    assert len(runs_of(folder)) == 3
    assert not list((folder.work / "checkpoints").glob("*"))
    assert folder.run(plan_of(MORE)) == RunOutcome()  # nothing is left
    assert len(folder.measured) == 3


def test_an_evaluation_that_is_removed_starts_nothing(
    folder: WorkFolder, plan_of: MakePlan
) -> None:
    folder.run(plan_of(MORE))
    assert folder.run(plan_of(), confirm_retraining=refuse) == RunOutcome()
    assert [r.metrics for r in results_of(folder, plan_of())] == [{"error": 9.0}] * 3


def test_new_seeds_are_trained_and_old_ones_measured(folder: WorkFolder, plan_of: MakePlan) -> None:
    folder.run(plan_of())
    both = plan_of(MORE, seeds="[0, 1]")
    assert folder.run(both) == RunOutcome(started=6)
    assert len(folder.trained) == 6
    assert {trial.seed for trial in folder.measured} == {0}
    assert all(not result.unmeasured for result in results_of(folder, both))


def test_another_suite_uses_the_trainings(folder: WorkFolder, plan_of: MakePlan) -> None:
    folder.run(plan_of())
    other = plan_of(MORE, name="other")
    assert folder.run(other, confirm_retraining=refuse) == RunOutcome(started=3)
    assert len(folder.trained) == 3
    assert len(folder.measured) == 3
    assert all(not result.unmeasured for result in results_of(folder, other))
    assert len(runs_of(folder, "other")) == 3
    # and back: the first suite gets the measurements
    again = plan_of(MORE)
    assert folder.run(again, confirm_retraining=refuse) == RunOutcome()
    assert len(folder.measured) == 3
    assert "3 trials taken from suite small" in folder.seen.getvalue()
    assert "3 trials taken from suite other" in folder.seen.getvalue()
    assert {run.data.tags["lossbench.measured"] for run in runs_of(folder)} == {"error, top5_error"}
    assert len(runs_of(folder)) == 3


def test_a_complete_result_of_another_suite_is_copied_without_ray(
    folder: WorkFolder, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.run(plan_of())

    def no_ray(*_: object) -> Any:
        raise AssertionError("Ray is not needed")

    monkeypatch.setattr("lossbench.runner.execution.ray_cluster", no_ray)
    assert folder.run(plan_of(name="other")) == RunOutcome()
    assert "3 trials taken from suite small" in folder.seen.getvalue()
    runs = runs_of(folder, "other")
    assert {run.data.tags["lossbench.origin_suite"] for run in runs} == {"small"}
    assert len(runs) == 3


def test_a_result_is_copied_by_one_process(folder: WorkFolder, plan_of: MakePlan) -> None:
    folder.run(plan_of())
    other = plan_of(name="other")
    locks, copied = folder.other_process(), dict[str, int]()
    [held] = locks.acquire(other.trials[:1])

    def copy_the_held_one() -> None:
        deadline = time.monotonic() + 60
        while "taken from suite" not in folder.seen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
        tracker = folder.tracker()
        tracker.start_suite(other, {})
        tracker.results([held])
        copied.update(tracker.adopt([held]))
        locks.release()

    thread = threading.Thread(target=copy_the_held_one)
    thread.start()
    assert folder.run(other) == RunOutcome()
    thread.join()
    assert copied == {"small": 1}
    assert folder.seen.getvalue().count("taken from suite") == 1
    assert "2 trials taken from suite small" in folder.seen.getvalue()
    assert [run.info.status for run in runs_of(folder, "other")] == ["FINISHED"] * 3


def test_a_diverged_trial_is_neither_measured_nor_trained_again(
    folder: WorkFolder, plan_of: MakePlan
) -> None:
    folder.diverging = {"softmax"}
    folder.run(plan_of())
    folder.run(plan_of(MORE), confirm_retraining=refuse)
    assert [trial.row for trial in folder.measured] == ["lgm(alpha=0)", "lgm(alpha=0.3)"]
    assert len(folder.trained) == 3


def test_without_weights_training_again_is_refused_before_anything_starts(
    folder: WorkFolder, plan_of: MakePlan, tmp_path: Path
) -> None:
    folder.run(plan_of("keep_weights=false"))
    before = folder.tracker().results(plan_of().trials)
    database = (tmp_path / "mlflow.db").read_bytes()
    with pytest.raises(RequestError, match="3 trials would be trained again"):
        folder.run(plan_of(MORE), confirm_retraining=refuse)
    assert len(folder.trained) == 3
    assert folder.measured == []
    assert (tmp_path / "mlflow.db").read_bytes() == database
    assert folder.tracker().results(plan_of().trials) == before


def test_the_error_of_the_best_epoch_needs_neither_weights_nor_a_run(
    folder: WorkFolder, plan_of: MakePlan
) -> None:
    one = "recipe.epochs=1"  # the made-up histories have one epoch
    folder.run(plan_of("keep_weights=false", one))
    plan = plan_of("evaluate=[error, best_error]", one)
    assert folder.run(plan, confirm_retraining=refuse) == RunOutcome()
    assert folder.measured == []
    metrics = [result.metrics for result in results_of(folder, plan)]
    assert metrics == [{"error": 9.0, "best_error": 9.0}] * 3


def test_without_weights_the_training_is_repeated_if_confirmed(
    folder: WorkFolder, plan_of: MakePlan
) -> None:
    folder.run(plan_of("keep_weights=false", "losses=[softmax]"))
    asked: list[str] = []
    plan = plan_of(MORE)
    outcome = folder.run(plan, confirm_retraining=lambda ts: asked.extend(t.row for t in ts))
    assert asked == ["softmax"]  # the others were never trained
    assert outcome == RunOutcome(started=3)
    assert folder.trained == ["softmax", *(trial.row for trial in plan.trials)]
    assert folder.measured == []
    for result in results_of(folder, plan):
        assert result.metrics == {"error": 9.0, "top5_error": 9.0}  # all of the new network
    assert folder.run(plan, confirm_retraining=refuse) == RunOutcome()


def test_a_run_that_ends_while_it_measures_is_continued(
    folder: WorkFolder, plan_of: MakePlan
) -> None:
    folder.run(plan_of())
    folder.ends_after = 1
    outcome = folder.run(plan_of(MORE))
    assert (outcome.started, outcome.interrupted) == (3, 2)
    assert {run.info.status for run in runs_of(folder)} == {"FINISHED"}
    assert [r.metrics for r in results_of(folder, plan_of())] == [{"error": 9.0}] * 3
    unmeasured = [result.unmeasured for result in results_of(folder, plan_of(MORE))]
    assert unmeasured == [(), ("top5_error",), ("top5_error",)]
    folder.ends_after = None
    assert folder.run(plan_of(MORE)) == RunOutcome(started=2)
    assert len(folder.measured) == 3
    assert len(folder.trained) == 3


def test_a_measurement_that_could_not_be_logged_is_logged_by_the_next_run(
    folder: WorkFolder, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.run(plan_of())

    def unreachable(*_: object) -> None:
        raise TrackingError("the server is down")

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "finish", unreachable)
        outcome = folder.run(plan_of(MORE))
    assert len(outcome.unlogged) == 3
    waiting = list(Outbox(folder.work, plan_of(MORE).table_identity).waiting())
    assert len(waiting) == 3
    assert all(result.unmeasured for result in results_of(folder, plan_of(MORE)))
    assert folder.run(plan_of(MORE)) == RunOutcome()
    assert "results of an earlier run, now logged: 3" in folder.seen.getvalue()
    assert len(folder.measured) == 3
    assert all(not result.unmeasured for result in results_of(folder, plan_of(MORE)))
    assert len(runs_of(folder)) == 3


@pytest.mark.parametrize("other_measures", [True, False])
def test_a_run_waits_for_measurements_of_another_process(
    folder: WorkFolder, plan_of: MakePlan, other_measures: bool
) -> None:
    folder.run(plan_of())
    plan = plan_of(MORE)
    others = folder.other_process()
    assert len(others.acquire(plan.trials)) == 3
    seen = len(folder.seen.getvalue())

    def end() -> None:
        deadline = time.monotonic() + 60
        while "waiting" not in folder.seen.getvalue()[seen:] and time.monotonic() < deadline:
            time.sleep(0.02)
        if other_measures:
            second = WorkFolder(folder.path / "second", folder.uri)
            second.path.mkdir()
            second.run(plan)
            folder.measured += second.measured
        others.release()  # or it died

    thread = threading.Thread(target=end)
    thread.start()
    outcome = folder.run(plan)
    thread.join()
    assert "waiting for trials that another process measures: 3" in folder.seen.getvalue()
    assert outcome.started == (0 if other_measures else 3)
    assert len(folder.measured) == 3
    assert all(not result.unmeasured for result in results_of(folder, plan))


def test_a_failed_measurement_keeps_the_finished_run_and_is_repeated(
    folder: WorkFolder, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.run(plan_of())
    save, calls = Outbox.save, list[str]()

    def fail_once(outbox: Outbox, trial: Trial, delivered: Path) -> Path:
        calls.append(trial.identity)
        if len(calls) == 1:
            raise OSError("broken")
        return save(outbox, trial, delivered)

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "save", fail_once)
        outcome = folder.run(plan_of(MORE))
    assert list(outcome.failed) == ["default/softmax/seed0"]
    assert len(folder.trained) == 3  # it is not trained again instead
    assert {run.info.status for run in runs_of(folder)} == {"FINISHED"}
    assert folder.run(plan_of(MORE)) == RunOutcome(started=1)
    assert len(folder.trained) == 3


def test_a_metric_of_a_selection_that_is_added_later_is_measured_on_held_out_images(
    folder: WorkFolder, plan_of: MakePlan
) -> None:
    by_error = plan_of("selection={holdout: 0.25}")
    folder.run(by_error)
    first = load_plan_with_results(by_error, folder.tracker())
    assert first.chosen["default", "lgm"].label == "lgm(alpha=0)"  # the first of equal ones
    assert len(folder.trained) == 3 + 2

    folder.worse = {"lgm(alpha=0)"}
    plan = plan_of(MORE, "selection={holdout: 0.25, metric: top5_error}")
    folder.run(plan, confirm_retraining=refuse)
    found = load_plan_with_results(plan, folder.tracker())
    assert found.chosen["default", "lgm"].label == "lgm(alpha=0.3)"
    before = [trial.holdout for trial in folder.measured[:3]]
    assert before == [0.25] * 3  # before anything is chosen
    # then the test set, of the chosen rows only: one is trained already, one is new
    assert [(t.row, t.holdout) for t in folder.measured[3:]] == [("softmax", 0.0)]
    assert folder.trained[5:] == ["lgm(alpha=0.3)"]
    assert all(found.is_complete(trial) for trial in found.trials)
    identities = [i for trial in found.trials for i in trial.measurement_identities]
    assert len(set(identities)) == len(identities) == 2 * (3 + 2)
    unchosen = plan.trial(first.chosen["default", "lgm"], "default", 0)
    assert folder.tracker().results([unchosen])[unchosen.identity].unmeasured == ("top5_error",)
