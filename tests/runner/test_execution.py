"""Execution of trials: which trials run or wait, and when a run ends."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.errors import DataError
from lossbench.planning.costs import Cost, Costs
from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.runner.budget import Budget
from lossbench.runner.outbox import Outbox
from lossbench.runner.outcome import RunOutcome
from lossbench.runner.prober import Prober
from lossbench.suite.load import load_suite
from tests.runner.fake_runs import NOWHERE, WorkFolder, result_of

pytestmark = pytest.mark.long


def test_only_trials_without_a_result_run(
    folder: WorkFolder, plan: Plan, write_suite: Callable[..., Path]
) -> None:
    folder.run(plan)
    more = check(load_suite(write_suite(), ["seeds=[0, 1]"]), NOWHERE)
    outcome = folder.run(more)
    assert outcome.started == len(plan.trials)
    assert Counter(folder.trained) == Counter(trial.row for trial in more.trials)


@pytest.mark.parametrize("other_finishes", [True, False])
def test_a_run_waits_for_trials_of_another_process(
    plan: Plan, folder: WorkFolder, other_finishes: bool
) -> None:
    others = folder.other_process()
    [held] = others.acquire(plan.trials[:1])

    def end() -> None:
        deadline = time.monotonic() + 60
        while len(folder.trained) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        if other_finishes:
            tracker = folder.tracker()
            tracker.start_suite(plan, {})
            delivered = folder.path / "other"
            delivered.mkdir()
            tracker.finish(held, result_of(held), delivered)
        others.release()  # or it died

    thread = threading.Thread(target=end)
    thread.start()
    outcome = folder.run(plan)
    thread.join()
    assert outcome.started == (2 if other_finishes else 3)
    assert folder.trained == [t.row for t in plan.trials[1:]] + (
        [] if other_finishes else [held.row]
    )
    assert len(folder.tracker().results(plan.trials)) == 3


def test_fail_fast_stops_at_a_divergence(plan: Plan, folder: WorkFolder) -> None:
    folder.diverging = {plan.trials[1].row}
    outcome = folder.run(plan, fail_fast=True)
    assert folder.trained == [t.row for t in plan.trials[:2]]
    assert outcome.ended_by_fail_fast
    assert outcome.interrupted == 0
    kept = folder.tracker().results(plan.trials)
    assert [kept[t.identity].status for t in plan.trials[:2]] == ["finished", "diverged"]
    assert folder.run(plan, fail_fast=True) == RunOutcome(started=1)  # the rest


def test_without_fail_fast_all_run(plan: Plan, folder: WorkFolder) -> None:
    folder.diverging = {plan.trials[0].row}
    assert folder.run(plan) == RunOutcome(started=3)


def test_a_time_budget_starts_trials_that_fit_and_the_next_run_continues(
    plan: Plan, folder: WorkFolder
) -> None:
    lengths = {"softmax": 5.0, "lgm(alpha=0)": 500.0, "lgm(alpha=0.3)": 5.0}
    costs = Costs(plan.trials, {}, "cpu", lambda t: Cost(lengths[t.row], 1.0))
    outcome = folder.run(plan, budget=Budget(time.monotonic() + 100, costs))
    assert folder.trained == ["softmax", "lgm(alpha=0.3)"]
    assert (outcome.over_budget, outcome.interrupted, outcome.halted) == (1, 0, True)
    outcome = folder.run(plan, budget=Budget(time.monotonic() - 1, costs))
    assert (outcome.started, outcome.over_budget) == (0, 1)
    assert folder.run(plan).halted is False
    assert folder.trained == ["softmax", "lgm(alpha=0.3)", "lgm(alpha=0)"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"),
        shutil.Error([("a", "b", "[Errno 122] Disk quota exceeded: 'b'")]),
    ],
)
def test_a_full_disk_ends_the_run_and_the_next_run_continues(
    plan: Plan, folder: WorkFolder, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    kept, calls = Outbox.save, list[str]()

    def save(outbox: Outbox, trial: Trial, delivered: Path) -> Path:
        calls.append(trial.identity)
        if len(calls) == 2:
            raise error
        return kept(outbox, trial, delivered)

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "save", save)
        outcome = folder.run(plan)
    assert len(plan.trials) > 2
    assert len(calls) == 2  # the other trials are not started
    assert outcome.failed == {}
    assert outcome.interrupted == len(plan.trials) - 1
    assert "the disk is full: make room in /" in outcome.abort_reason
    assert "failed" not in folder.seen.getvalue()
    again = folder.run(plan)
    assert (again.started, again.abort_reason) == (len(plan.trials) - 1, "")
    assert len(folder.tracker().results(plan.trials)) == len(plan.trials)


GPU = "Fake GPU 9000"


@pytest.fixture
def cluster(folder: WorkFolder, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Rows that are probed on a simulated cluster with GPUs.

    Trials take 5 seconds there, those of softmax 100.
    """
    folder.resources = replace(folder.resources, gpus=1.0, concurrent=2, attached=True)
    folder.device = GPU
    probed: list[str] = []

    def measure(trial: Trial, seconds: float) -> Cost:
        probed.append(trial.row)
        return Cost(100.0 if trial.row == "softmax" else 5.0, 1.0)

    @contextlib.contextmanager
    def cluster_prober(*_: object) -> Iterator[Prober]:
        yield Prober(GPU, measure)

    monkeypatch.setattr("lossbench.runner.cluster_probe.cluster_prober", cluster_prober)
    return probed


def test_a_time_budget_on_a_cluster_uses_costs_of_its_devices(
    plan: Plan, folder: WorkFolder, cluster: list[str]
) -> None:
    outcome = folder.run(plan, budget=Budget(time.monotonic() + 75), address="auto")
    assert cluster == [trial.row for trial in plan.trials]
    assert (outcome.started, outcome.over_budget) == (2, 1)


def test_a_time_budget_on_a_cluster_uses_results_of_its_gpus(
    plan: Plan, folder: WorkFolder, cluster: list[str], write_suite: Callable[..., Path]
) -> None:
    folder.run(plan, address="auto")
    more = check(load_suite(write_suite(), ["seeds=[0, 1]"]), NOWHERE)
    # by its results, of 1 s, softmax fits; by a probe it would not
    outcome = folder.run(more, budget=Budget(time.monotonic() + 75), address="auto")
    assert cluster == []
    assert (outcome.started, outcome.over_budget) == (3, 0)


def test_a_time_budget_on_a_cluster_ignores_results_of_other_devices(
    plan: Plan, folder: WorkFolder, cluster: list[str], write_suite: Callable[..., Path]
) -> None:
    folder.device = "cpu"
    folder.run(plan, address="auto")
    folder.device = GPU
    more = check(load_suite(write_suite(), ["seeds=[0, 1]"]), NOWHERE)
    outcome = folder.run(more, budget=Budget(time.monotonic() + 75), address="auto")
    assert cluster == [trial.row for trial in plan.trials]
    assert (outcome.started, outcome.over_budget) == (2, 1)


def test_an_error_of_a_probe_on_a_cluster_starts_nothing(
    plan: Plan, folder: WorkFolder, cluster: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> contextlib.AbstractContextManager[Prober]:
        raise DataError("no data there")

    monkeypatch.setattr("lossbench.runner.cluster_probe.cluster_prober", fail)
    with pytest.raises(DataError, match="no data there"):
        folder.run(plan, budget=Budget(time.monotonic() + 75), address="auto")
    assert folder.trained == []
