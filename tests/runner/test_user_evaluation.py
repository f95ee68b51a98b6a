"""A user's evaluation that fails: the training and the other measurements are kept."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from lossbench.archive.contents import result_problem
from lossbench.assembly.check import check
from lossbench.errors import NotFiniteError
from lossbench.evaluation import EVALUATIONS, Evaluation, Measurement, Metric, Trained
from lossbench.planning.measurements import with_measurements
from lossbench.planning.plan import Plan
from lossbench.planning.result_files import RESULT
from lossbench.planning.trial import PlannedEvaluation, Trial
from lossbench.records import TrialResult
from lossbench.registry import registering
from lossbench.runner.outbox import Outbox
from lossbench.runner.progress import Display
from lossbench.runner.recorder import Recorder
from lossbench.runner.sharded_work import Shard, ShardedWork, WorkOutcome
from lossbench.runner.trial import measure_trial, run_trial
from lossbench.runner.user_evaluation import EvaluationError
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker

NOWHERE = Path("/nonexistent/data")
Write = Callable[..., Path]


class Own(Evaluation):
    """A metric of a user, whose code a test sets."""

    act: Callable[[Trained], Any] = staticmethod(lambda trained: 7.0)

    def metrics(self) -> tuple[Metric, ...]:
        return (Metric(name="own", label="own"),)

    def __call__(self, trained: Trained) -> Measurement:
        return Measurement({"own": type(self).act(trained)})


@pytest.fixture(autouse=True)
def own_evaluation(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with registering("a test", lambda _: "a test"):
        EVALUATIONS.register("own")(Own)
    yield
    EVALUATIONS.unregister("a test")


@pytest.fixture
def plan(write_suite: Write) -> Plan:
    overrides = ["losses=[softmax]", "seeds=[0]", "evaluate=[error, own, top5_error]"]
    return check(load_suite(write_suite(), overrides), NOWHERE)


def run(trial: Trial, folder: Path) -> TrialResult:
    folder.mkdir()
    result = run_trial(trial, data_root=NOWHERE, artifacts=folder)
    (folder / RESULT).write_text(result.model_dump_json(), encoding="utf-8")
    return result


def fail(trained: Trained) -> float:
    raise KeyError("no such thing")


def spoil(trained: Trained) -> float:
    with torch.no_grad():
        for parameter in trained.model.parameters():
            parameter.zero_()
    trained.model.train()
    return 1.0


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (fail, r"evaluation own: KeyError: 'no such thing' (test_user_evaluation.py:"),
        (lambda trained: "x", "evaluation own: metric 'own' should be a number, not 'x'"),
        (spoil, "evaluation own: it changed the weights of the network"),
    ],
)
def test_the_training_and_the_other_measurements_are_kept(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Any, reason: str
) -> None:
    [trial] = plan.trials
    expected = run(trial, tmp_path / "whole")
    assert expected.failures == {}
    monkeypatch.setattr(Own, "act", staticmethod(act))
    result = run(trial, tmp_path / "out")
    assert result.status == "finished"
    assert result.failures.keys() == {"own"}
    last = result.failures["own"].rpartition("\n")[2]
    assert last.startswith(reason)
    assert "Traceback" in result.failures["own"]
    assert result.weights_digest == expected.weights_digest
    assert result.metrics == {k: v for k, v in expected.metrics.items() if k != "own"}
    assert "failures" not in (tmp_path / "out" / RESULT).read_text(encoding="utf-8")
    assert str(EvaluationError(result.failures)) == last

    monkeypatch.setattr(Own, "act", staticmethod(lambda trained: 7.0))
    (tmp_path / "later").mkdir()
    later = measure_trial(
        trial, data_root=NOWHERE, stored=tmp_path / "out", artifacts=tmp_path / "later"
    )
    assert later.metrics == expected.metrics
    assert later.failures == {}
    monkeypatch.setattr(Own, "act", staticmethod(act))
    again = measure_trial(
        trial, data_root=NOWHERE, stored=tmp_path / "out", artifacts=tmp_path / "later"
    )
    assert again.failures.keys() == {"own"}
    assert again.metrics == result.metrics


def test_features_of_a_changed_network_are_not_used_by_others(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil_and_look(trained: Trained) -> float:
        spoil(trained)
        return float(trained.scores.sum() + trained.train_features.sum())

    [trial] = plan.trials
    own_first = trial.model_copy(
        update={"evaluate": tuple(sorted(trial.evaluate, key=_is_not_own))}
    )
    expected = run(trial, tmp_path / "stored")
    nothing = with_measurements(expected, ())
    (tmp_path / "stored" / RESULT).write_text(nothing.model_dump_json(), encoding="utf-8")
    monkeypatch.setattr(Own, "act", staticmethod(spoil_and_look))
    (tmp_path / "later").mkdir()
    later = measure_trial(
        own_first, data_root=NOWHERE, stored=tmp_path / "stored", artifacts=tmp_path / "later"
    )
    assert later.failures.keys() == {"own"}
    assert later.metrics == {k: v for k, v in expected.metrics.items() if k != "own"}


def _is_not_own(evaluation: PlannedEvaluation) -> bool:
    return evaluation.name != "own"


def test_a_value_that_is_not_finite_is_a_reason_that_archives_accept(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(trained: Trained) -> float:
        raise NotFiniteError("a value\nwas \x1b[1minfinite" + 1000 * "!")

    monkeypatch.setattr(Own, "act", staticmethod(diverge))
    [trial] = plan.trials
    result = run(trial, tmp_path / "out")
    [reason] = [record.divergence for record in result.measurements if record.name == "own"]
    assert reason.startswith("in the end a value was  [1minfinite!!!")
    assert result_problem(trial, result) == ""


def test_a_failing_evaluation_of_lossbench_keeps_the_training_too(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lossbench.evaluation.accuracy.Top5Error.__call__", lambda *_: 1 / 0)
    result = run(plan.trials[0], tmp_path / "out")
    assert result.failures.keys() == {"top5_error"}
    assert result.metrics.keys() == {"error", "own"}


def test_the_trial_fails_with_a_message_and_its_result_is_stored(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    [trial] = plan.trials
    monkeypatch.setattr(Own, "act", staticmethod(fail))
    result = run(trial, tmp_path / "out")
    tracker = Tracker.open(uri)
    tracker.start_suite(plan, {})
    console = Console(file=io.StringIO(), width=200)
    outbox = Outbox(tmp_path, "table")
    recorder = Recorder([trial], tracker, outbox, Display(console, 1, 1), tmp_path)

    class Delivered:
        """Tune's trial, with the files of the worker."""

        config = {"trial": trial.model_dump_json()}  # noqa: RUF012
        checkpoint = None

    recorder.on_trial_start(0, [], Delivered())
    report = {
        "epochs": [],
        "unmeasured": "\n".join(result.failures.values()),
        "delivered": str(tmp_path / "out"),
    }
    recorder.on_trial_result(0, [], Delivered(), report)
    recorder.on_trial_complete(0, [], Delivered())
    recorder.close()
    assert recorder.finished == set()
    assert recorder.failed[trial.identity].startswith("evaluation own: KeyError")
    assert isinstance(console.file, io.StringIO)
    assert "failed: default/softmax/seed0: evaluation own: KeyError" in console.file.getvalue()
    log = (tmp_path / "logs" / f"{trial.identity}.log").read_text(encoding="utf-8")
    assert "Traceback" in log
    found = Tracker.open(uri, create=False).results([trial])[trial.identity]
    assert found.unmeasured == ("own",)
    assert found.metrics == result.metrics


def test_work_in_one_process_keeps_the_training_too(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []

    def work() -> WorkOutcome:
        sharded = ShardedWork(
            plan, Shard(), tmp_path / "out", data_root=NOWHERE, device="cpu", log=lines.append
        )
        return sharded.run()

    monkeypatch.setattr(Own, "act", staticmethod(fail))
    outcome = work()
    [reason] = outcome.failed.values()
    assert reason.startswith("evaluation own: KeyError: 'no such thing'")
    assert (outcome.finished, outcome.left) == (0, 1)
    [log] = (tmp_path / "out").rglob("*.log")
    assert "in fail" in log.read_text(encoding="utf-8")

    monkeypatch.setattr(Own, "act", staticmethod(lambda trained: 7.0))
    monkeypatch.setattr("lossbench.runner.sharded_work.run_trial", pytest.fail)  # not trained again
    outcome = work()
    assert (outcome.failed, outcome.finished, outcome.left) == ({}, 1, 0)
    assert "measured in" in lines[-1]
