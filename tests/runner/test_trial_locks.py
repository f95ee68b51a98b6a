"""Two runs at the same time, a tracking server that goes away, an early end; without Ray."""

from __future__ import annotations

import contextlib
import io
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from rich.console import Console

from lossbench.analysis.tables import make_tables
from lossbench.assembly.check import check
from lossbench.errors import RequestError, TrackingError
from lossbench.planning.costs import Cost, Costs
from lossbench.planning.fairness import audit
from lossbench.planning.plan import Plan
from lossbench.planning.selection import load_plan_with_results
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.runner import run as module
from lossbench.runner.cluster import Slot
from lossbench.runner.halving import Step, next_step
from lossbench.runner.outbox import Spool
from lossbench.runner.progress import Display
from lossbench.runner.recorder import Recorder
from lossbench.runner.run import Budget, Outcome, run_plan
from lossbench.runner.trial import environment
from lossbench.runner.trial_locks import Claims
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker

pytestmark = pytest.mark.long

NOWHERE = Path("/nonexistent/data")


class FakeTrial:
    """What Tune tells its callbacks of a trial."""

    def __init__(self, trial: Trial, delivered: Path) -> None:
        self.config = {"trial": trial.model_dump_json()}
        self.checkpoint: FakeTrial | None = self
        self._delivered = delivered

    @contextlib.contextmanager
    def as_directory(self) -> Iterator[str]:
        yield str(self._delivered)


def result_of(trial: Trial, status: str = "finished") -> TrialResult:
    record = EpochRecord(epoch=1, timestamp_ms=1000, metrics={"test_error": 9.0})
    return TrialResult(
        identity=trial.identity,
        status=status,
        metrics={"error": 9.0},
        history=(record,),
        wall_time_sec=1.0,
        peak_memory_mib=1.0,
        device="cpu",
        environment=environment(),
    )


@pytest.fixture
def plan(write_suite: Callable[..., Path]) -> Plan:
    return check(load_suite(write_suite(), ["seeds=[0]"]), NOWHERE)


class Folder:
    """A working folder in which runs train nothing, but for their results."""

    def __init__(self, path: Path, uri: str) -> None:
        self.path, self.uri, self.trained = path, uri, list[str]()
        self.diverging: set[str] = set()
        self.behind: set[str] = set()
        self.seen = io.StringIO()

    def tracker(self) -> Tracker:
        return Tracker.open(self.uri)

    def curve(self, trial: Trial) -> list[EpochRecord]:
        error = 50.0 if trial.row in self.behind else 9.0
        return [
            EpochRecord(epoch=epoch, timestamp_ms=1000 * epoch, metrics={"holdout_error": error})
            for epoch in range(1, trial.recipe.epochs + 1)
        ]

    def run(self, plan: Plan, **options: Any) -> Outcome:
        return run_plan(
            plan,
            self.tracker(),
            data_root=NOWHERE,
            work=self.path / "work",
            address=None,
            console=Console(file=self.seen, width=200),
            **options,
        )

    def run_trials(
        self,
        trials: Sequence[Trial],
        until: Mapping[str, int],
        slot: Slot,
        tracker: Tracker,
        spool: Spool,
        *,
        work: Path,
        console: Console,
        fail_fast: bool,
        deadline: float,
        **_: Any,
    ) -> Recorder:
        """In place of the one that needs Ray."""
        from lossbench.runner.tune_jobs import _Early

        display = Display(console, len(trials), 1)
        recorder = Recorder(trials, tracker, spool, display, work)
        early = _Early(recorder, fail_fast, deadline)
        for trial in trials:
            if early.stop_all():
                break
            self.trained.append(trial.row)
            delivered = self.path / trial.identity
            delivered.mkdir(exist_ok=True)
            told = FakeTrial(trial, delivered)
            recorder.on_trial_start(0, [], told)
            if until[trial.identity] < trial.recipe.epochs:
                history = self.curve(trial)[: until[trial.identity]]
                told.checkpoint = None
                paused = [record.model_dump() for record in history]
                recorder.on_trial_result(0, [], told, {"epochs": paused, "paused": paused})
            else:
                status = "diverged" if trial.row in self.diverging else "finished"
                result = result_of(trial, status).model_copy(
                    update={"history": tuple(self.curve(trial))} if trial.stop_early else {}
                )
                (delivered / "result.json").write_text(result.model_dump_json(), encoding="utf-8")
            recorder.on_trial_complete(0, [], told)
        recorder.close()
        return recorder


@pytest.fixture
def folder(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> Folder:
    made = Folder(tmp_path, uri)
    slot = Slot(cpus=1, gpus=0, workers=1, concurrent=1)
    monkeypatch.setattr(module, "connect", lambda *_: contextlib.nullcontext(slot))
    monkeypatch.setattr("lossbench.runner.tune_jobs.run_trials", made.run_trials)
    monkeypatch.setattr(module, "OTHERS_SEC", 0.05)
    return made


def other_process(folder: Folder) -> Claims:
    work = folder.path / "work"
    work.mkdir(exist_ok=True)
    return Claims(work)


def test_only_what_has_no_result_runs(
    folder: Folder, plan: Plan, write_suite: Callable[..., Path]
) -> None:
    folder.run(plan)
    more = check(load_suite(write_suite(), ["seeds=[0, 1]"]), NOWHERE)
    outcome = folder.run(more)
    assert outcome.started == len(plan.trials)
    assert Counter(folder.trained) == Counter(trial.row for trial in more.trials)


def test_a_trial_is_one_process_s(plan: Plan, folder: Folder) -> None:
    first, second = other_process(folder), other_process(folder)
    assert first.take(plan.trials[:2]) == list(plan.trials[:2])
    assert first.take(plan.trials[:2]) == list(plan.trials[:2])  # still
    assert second.take(plan.trials) == [plan.trials[2]]
    first.release()
    assert second.take(plan.trials) == list(plan.trials)


@pytest.mark.parametrize("other_finishes", [True, False])
def test_what_another_process_runs_is_waited_for(
    plan: Plan, folder: Folder, other_finishes: bool
) -> None:
    others = other_process(folder)
    [held] = others.take(plan.trials[:1])

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


def test_a_server_that_comes_back_during_the_run_gets_every_result(
    plan: Plan, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    finish = Tracker.finish

    def away_at_first(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls <= 2:
            raise TrackingError("the server is away")
        finish(*arguments)

    monkeypatch.setattr(Tracker, "finish", away_at_first)
    outcome = folder.run(plan)
    assert (outcome.started, outcome.unlogged) == (3, [])
    assert "not logged to MLflow yet" in folder.seen.getvalue()
    assert len(folder.tracker().results(plan.trials)) == 3


def test_a_server_that_stays_away_loses_nothing(
    plan: Plan, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise TrackingError("the server is away")

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "finish", away)
        outcome = folder.run(plan)
    assert len(outcome.unlogged) == 3
    assert folder.tracker().results(plan.trials) == {}
    again = folder.run(plan)
    assert again == Outcome()
    assert len(folder.trained) == 3  # none twice
    assert len(folder.tracker().results(plan.trials)) == 3


def test_a_crash_between_logging_and_forgetting_logs_nothing_twice(
    plan: Plan, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "drop", lambda *_: None)
        folder.run(plan)
    spool = Spool(folder.path / "work", plan.table_identity)
    assert len(list(spool.waiting())) == 3
    folder.run(plan)
    assert list(spool.waiting()) == []
    client = MlflowClient(folder.uri)
    [experiment] = client.search_experiments(filter_string="name = 'small'")
    runs = client.search_runs([experiment.experiment_id], "tags.`lossbench.kind` = 'trial'")
    assert len(runs) == 3
    for run in runs:
        curve = client.get_metric_history(run.info.run_id, "test_error")
        assert [point.step for point in curve] == [1]


def test_fail_fast_stops_at_a_divergence(plan: Plan, folder: Folder) -> None:
    folder.diverging = {plan.trials[1].row}
    outcome = folder.run(plan, fail_fast=True)
    assert folder.trained == [t.row for t in plan.trials[:2]]
    assert outcome.stopped_early
    assert outcome.interrupted == 0
    kept = folder.tracker().results(plan.trials)
    assert [kept[t.identity].status for t in plan.trials[:2]] == ["finished", "diverged"]
    assert folder.run(plan, fail_fast=True) == Outcome(started=1)  # the rest


def test_without_fail_fast_all_run(plan: Plan, folder: Folder) -> None:
    folder.diverging = {plan.trials[0].row}
    assert folder.run(plan) == Outcome(started=3)


def test_a_working_folder_that_cannot_be_written_is_refused(plan: Plan, folder: Folder) -> None:
    (folder.path / "work").write_text("a file", encoding="utf-8")
    with pytest.raises(RequestError, match="claims: cannot be written: Not a dir"):
        folder.run(plan)
    assert folder.trained == []


def test_a_time_budget_starts_what_fits_and_the_next_run_goes_on(
    plan: Plan, folder: Folder
) -> None:
    lengths = {"softmax": 5.0, "lgm(alpha=0)": 500.0, "lgm(alpha=0.3)": 5.0}
    costs = Costs(plan.trials, {}, "cpu", lambda t: Cost(lengths[t.row], 1.0))
    outcome = folder.run(plan, budget=Budget(time.monotonic() + 100, costs))
    assert folder.trained == ["softmax", "lgm(alpha=0.3)"]
    assert (outcome.late, outcome.interrupted, outcome.halted) == (1, 0, True)
    outcome = folder.run(plan, budget=Budget(time.monotonic() - 1, costs))
    assert (outcome.started, outcome.late) == (0, 1)
    assert folder.run(plan).halted is False
    assert folder.trained == ["softmax", "lgm(alpha=0.3)", "lgm(alpha=0)"]


EARLY = ["selection={holdout: 0.25, stop_early: true}", "recipe.epochs=4"]  # a rung after 3


def test_a_stopped_row_is_recorded_shown_and_never_chosen(
    write_suite: Callable[..., Path], folder: Folder
) -> None:
    changes = ["seeds=[0, 1]", *EARLY]
    plan = check(load_suite(write_suite(), changes), NOWHERE)
    without = check(load_suite(write_suite(), [*changes, "selection.stop_early=false"]), NOWHERE)
    assert {t.identity for t in plan.trials}.isdisjoint(t.identity for t in without.trials)
    assert {t.revisions.get("early stopping") for t in plan.trials} == {2}
    assert all("early stopping" not in t.revisions for t in without.trials)
    folder.behind = {"lgm(alpha=0)"}
    outcome = folder.run(plan)
    assert (outcome.halted, outcome.failed, outcome.undecided) == (False, {}, False)
    assert outcome.started == len(plan.trials) + 4  # the final ones of two rows
    assert "stopped early: default/lgm(alpha=0)\n" in folder.seen.getvalue()
    found = load_plan_with_results(plan, folder.tracker().results)
    trials, results = found.trials, found.results
    stopped = [r for r in results.values() if r.status == "stopped"]
    assert [(r.metrics, len(r.history), r.wall_time_sec) for r in stopped] == [({}, 3, 2.0)] * 2
    assert stopped[0].reason == (
        "stopped after epoch 3 of 4: its row had a mean error of 50.00 % there, and the better "
        "half of the rows of its loss 9.00 % or less"
    )
    assert {t.row for t in trials if not t.holdout} == {"softmax", "lgm(alpha=0.3)"}
    assert not any(t.stop_early or t.revisions for t in trials if not t.holdout)
    assert folder.trained.count("lgm(alpha=0)") == 2
    folder.run(plan)
    assert folder.trained.count("lgm(alpha=0)") == 2  # it is known
    [held_out, _] = make_tables(found)
    cell = held_out.cells["default", "lgm(alpha=0)"]
    assert (cell.summary.mean, cell.count) == (None, "n=0, 2 of 2 stopped early")
    told = {text for finding in audit(found.plan, trials, results) for text in [str(finding)]}
    assert not any("seeds that count" in text or "device" in text for text in told)


def test_an_end_between_two_rungs_is_gone_on_from(
    write_suite: Callable[..., Path], folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = check(load_suite(write_suite(), ["seeds=[0, 1]", *EARLY]), NOWHERE)
    folder.behind = {"lgm(alpha=0)"}
    with monkeypatch.context() as patch:
        patch.setattr(module, "next_step", fails_at_call(3))  # the first rung is reached
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


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"),
        shutil.Error([("a", "b", "[Errno 122] Disk quota exceeded: 'b'")]),
    ],
)
def test_a_full_disk_ends_the_run_which_goes_on_later(
    plan: Plan, folder: Folder, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    kept, calls = Spool.keep, list[str]()

    def keep(spool: Spool, trial: Trial, delivered: Path) -> Path:
        calls.append(trial.identity)
        if len(calls) == 2:
            raise error
        return kept(spool, trial, delivered)

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "keep", keep)
        outcome = folder.run(plan)
    assert len(plan.trials) > 2
    assert len(calls) == 2  # the others are not trained in vain
    assert outcome.failed == {}
    assert outcome.interrupted == len(plan.trials) - 1
    assert "the disk is full: make room in /" in outcome.lost
    assert "failed" not in folder.seen.getvalue()
    again = folder.run(plan)
    assert (again.started, again.lost) == (len(plan.trials) - 1, "")
    assert len(folder.tracker().results(plan.trials)) == len(plan.trials)


def test_half_a_result_is_removed(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    delivered, spool = tmp_path / "delivered", Spool(tmp_path / "work", "table")
    delivered.mkdir()
    (delivered / "result.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr("lossbench.runner.outbox.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        spool.keep(plan.trials[0], delivered)
    assert list(spool.folder.iterdir()) == []


def test_a_full_disk_at_a_rung_is_a_failure_and_decides_nothing(
    write_suite: Callable[..., Path], folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    plan = check(load_suite(write_suite(), ["seeds=[0]", *EARLY]), NOWHERE)
    folder.behind = {"lgm(alpha=0)"}
    with monkeypatch.context() as patch:
        patch.setattr("lossbench.runner.stopping.Stopping.keep", full)
        outcome = folder.run(plan)
    assert list(outcome.failed) == ["default/lgm(alpha=0)/seed0/holdout"]
    assert outcome.undecided
    assert folder.run(plan).failed == {}


def test_a_server_that_is_away_at_a_rung_gets_the_stopped_trials_later(
    write_suite: Callable[..., Path], folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise TrackingError("the server is away")

    plan = check(load_suite(write_suite(), ["seeds=[0]", *EARLY]), NOWHERE)
    folder.behind = {"lgm(alpha=0)"}
    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "finish", away)
        outcome = folder.run(plan)
    assert "default/lgm(alpha=0)/seed0/holdout" in outcome.unlogged
    assert outcome.undecided
    folder.run(plan)
    results = folder.tracker().results(plan.trials)
    assert sorted(r.status for r in results.values()) == ["finished", "finished", "stopped"]


def fails_at_call(number: int) -> Callable[..., Step]:
    calls = 0

    def fail(*arguments: Any) -> Step:
        nonlocal calls
        calls += 1
        if calls == number:
            raise KeyboardInterrupt
        return next_step(*arguments)

    return fail
