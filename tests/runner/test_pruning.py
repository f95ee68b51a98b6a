"""Pruned trials are recorded and shown, and never chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from lossbench.analysis.tables import make_tables
from lossbench.assembly.check import check
from lossbench.errors import TrackingError
from lossbench.planning.fairness import audit
from lossbench.planning.selection import load_plan_with_results
from lossbench.report.value_text import format_count
from lossbench.runner import execution as module
from lossbench.runner.halving import NextTrainings, next_trainings
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker
from tests.runner.fake_runs import EARLY, NOWHERE, WorkFolder

pytestmark = pytest.mark.long


def fails_at_call(number: int) -> Callable[..., NextTrainings]:
    calls = 0

    def fail(*arguments: Any) -> NextTrainings:
        nonlocal calls
        calls += 1
        if calls == number:
            raise KeyboardInterrupt
        return next_trainings(*arguments)

    return fail


def test_a_pruned_row_is_recorded_shown_and_never_chosen(
    write_suite: Callable[..., Path], folder: WorkFolder
) -> None:
    changes = ["seeds=[0, 1]", *EARLY]
    plan = check(load_suite(write_suite(), changes), NOWHERE)
    without = check(load_suite(write_suite(), [*changes, "selection.stop_early=false"]), NOWHERE)
    assert {t.identity for t in plan.trials}.isdisjoint(t.identity for t in without.trials)
    assert {t.revisions.get("early stopping") for t in plan.trials} == {2}
    assert all("early stopping" not in t.revisions for t in without.trials)
    folder.worse = {"lgm(alpha=0)"}
    outcome = folder.run(plan)
    assert (outcome.halted, outcome.failed, outcome.undecided) == (False, {}, False)
    assert outcome.started == len(plan.trials) + 4  # the final ones of two rows
    assert "pruned: default/lgm(alpha=0)\n" in folder.seen.getvalue()
    found = load_plan_with_results(plan, folder.tracker())
    trials, results = found.trials, found.results
    pruned = [r for r in results.values() if r.status == "stopped"]
    assert [(r.metrics, len(r.history), r.wall_time_sec) for r in pruned] == [({}, 3, 3.0)] * 2
    assert pruned[0].reason == (
        "pruned after epoch 3 of 4: the mean error of its row was 50.00 %, and 9.00 % or less in "
        "the better half of the rows of its loss"
    )
    assert {t.row for t in trials if not t.holdout} == {"softmax", "lgm(alpha=0.3)"}
    assert not any(t.stop_early or t.revisions for t in trials if not t.holdout)
    assert folder.trained.count("lgm(alpha=0)") == 2
    folder.run(plan)
    assert folder.trained.count("lgm(alpha=0)") == 2  # the pruned row is not trained again
    [held_out, _] = make_tables(found)
    cell = held_out.cells["default", "lgm(alpha=0)"]
    assert cell.summary.mean is None
    assert format_count(cell.summary) == "n=0, 2 of 2 stopped early"
    findings = [str(finding) for finding in audit(found.plan, trials, results)]
    assert not any("seeds in the mean" in text or "device" in text for text in findings)


def test_a_run_interrupted_between_rungs_can_be_resumed(
    write_suite: Callable[..., Path], folder: WorkFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = check(load_suite(write_suite(), ["seeds=[0, 1]", *EARLY]), NOWHERE)
    folder.worse = {"lgm(alpha=0)"}
    with monkeypatch.context() as patch:
        patch.setattr(module, "next_trainings", fails_at_call(3))  # the first rung is reached
        assert folder.run(plan).halted
    paused = [trial for trial in plan.trials if trial.loss.name == "lgm"]
    assert not folder.tracker().results(paused)
    client = MlflowClient(folder.uri)
    [experiment] = client.search_experiments(filter_string="name = 'small'")
    runs = client.search_runs([experiment.experiment_id], "tags.`lossbench.reason` LIKE 'paused%'")
    assert {run.info.status for run in runs} == {"KILLED"}
    assert len(runs) == len(paused)
    assert folder.run(plan).halted is False
    results = folder.tracker().results(plan.trials)
    assert {t.row for t in plan.trials if results[t.identity].status == "stopped"} == {
        "lgm(alpha=0)"
    }


def test_a_full_disk_at_a_rung_is_a_failure_and_decides_nothing(
    write_suite: Callable[..., Path], folder: WorkFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    plan = check(load_suite(write_suite(), ["seeds=[0]", *EARLY]), NOWHERE)
    folder.worse = {"lgm(alpha=0)"}
    with monkeypatch.context() as patch:
        patch.setattr("lossbench.runner.outbox.Outbox.save_result", full)
        outcome = folder.run(plan)
    assert list(outcome.failed) == ["default/lgm(alpha=0)/seed0/holdout"]
    assert outcome.undecided
    assert folder.run(plan).failed == {}


def test_pruned_trials_are_logged_later_if_the_server_is_unreachable(
    write_suite: Callable[..., Path], folder: WorkFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise TrackingError("the server is away")

    plan = check(load_suite(write_suite(), ["seeds=[0]", *EARLY]), NOWHERE)
    folder.worse = {"lgm(alpha=0)"}
    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "finish", away)
        outcome = folder.run(plan)
    assert "default/lgm(alpha=0)/seed0/holdout" in outcome.unlogged
    assert outcome.undecided
    folder.run(plan)
    results = folder.tracker().results(plan.trials)
    assert sorted(r.status for r in results.values()) == ["finished", "finished", "stopped"]


def test_pruned_and_finished_trials_record_the_same_device_and_their_whole_cost(
    write_suite: Callable[..., Path], folder: WorkFolder
) -> None:
    folder.resources = replace(folder.resources, gpus=1.0)
    folder.device = "Fake GPU 9000"
    folder.worse = {"lgm(alpha=0)"}
    plan = check(load_suite(write_suite(), ["seeds=[0]", *EARLY]), NOWHERE)
    folder.run(plan)
    more = check(load_suite(write_suite(), ["seeds=[0, 1]", *EARLY]), NOWHERE)
    folder.run(more)
    found = load_plan_with_results(more, folder.tracker())
    trials, results = found.trials, found.results
    assert {result.device for result in results.values()} == {"Fake GPU 9000"}
    pruned = [results[t.identity] for t in trials if t.row == "lgm(alpha=0)"]
    costs = [(len(r.history), r.wall_time_sec, r.peak_memory_mib) for r in pruned]
    assert costs == [(3, 3.0, 7.0), (0, 0.0, 0.0)]  # the added seed was not trained
    assert [r.status for r in pruned] == ["stopped", "stopped"]
    findings = [str(finding) for finding in audit(found.plan, trials, results)]
    assert not any("device" in finding for finding in findings)
    client = MlflowClient(folder.uri)
    [experiment] = client.search_experiments(filter_string="name = 'small'")
    [run] = client.search_runs(
        [experiment.experiment_id], f"tags.`lossbench.identity` = '{pruned[0].identity}'"
    )
    assert run.data.tags["lossbench.device"] == "Fake GPU 9000"
    assert (run.data.metrics["wall_time_sec"], run.data.metrics["peak_memory_mib"]) == (3.0, 7.0)
