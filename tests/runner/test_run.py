"""Trials on a real Ray cluster, as small as possible."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image
from rich.console import Console

from lossbench.assembly.check import check
from lossbench.errors import RequestError
from lossbench.planning.plan import Plan
from lossbench.planning.selection import load_plan_with_results
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.runner.cluster import TrialResources, ray_cluster
from lossbench.runner.outcome import RunOutcome
from lossbench.runner.run import run_plan
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from lossbench.suite.schema import Resources
from lossbench.tracking.store import Tracker

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("one_ray")]

Write = Callable[..., Path]
NOWHERE = Path("/nonexistent/data")


@pytest.fixture
def tracker(uri: str) -> Tracker:
    return Tracker.open(uri)


@contextlib.contextmanager
def one_at_a_time(address: str | None, resources: Resources) -> Iterator[TrialResources]:
    """`ray_cluster` with one worker instead of one per processor, since each takes seconds."""
    with ray_cluster(address, resources) as resources:
        yield replace(resources, concurrent=1)


@pytest.fixture
def start(
    tmp_path: Path, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[RunOutcome, str]]:
    """Run a plan; return its outcome and the output of the console."""
    monkeypatch.setattr("lossbench.runner.execution.ray_cluster", one_at_a_time)

    def run(plan: Plan, data_root: Path = NOWHERE) -> tuple[RunOutcome, str]:
        seen = io.StringIO()
        console = Console(file=seen, width=200)
        work = tmp_path / "work"
        outcome = run_plan(
            plan, tracker, data_root=data_root, work=work, address=None, console=console
        )
        return outcome, seen.getvalue()

    return run


def plan_of(path: Path, *overrides: str, data_root: Path = NOWHERE) -> Plan:
    return check(load_suite(path, overrides), data_root)


def test_every_trial_runs_once_with_the_same_result_as_without_ray(
    write_suite: Write,
    tmp_path: Path,
    tracker: Tracker,
    start: Callable[..., tuple[RunOutcome, str]],
) -> None:
    plan = plan_of(write_suite(), "seeds=[0]")
    outcome, seen = start(plan)
    assert (outcome.started, outcome.failed, outcome.interrupted) == (3, {}, 0)
    assert "3 trials to run" in seen
    results = tracker.results(plan.trials)
    assert set(results) == {t.identity for t in plan.trials}

    alone = run_trial(plan.trials[1], data_root=NOWHERE, artifacts=tmp_path)
    by_ray = results[plan.trials[1].identity]
    assert alone.metrics == by_ray.metrics
    assert [e.metrics for e in alone.history] == [e.metrics for e in by_ray.history]
    assert tracker.arrays(plan.trials[1].identity, "embedding") is not None

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    [experiment] = client.search_experiments(filter_string="name = 'small'")
    runs = client.search_runs([experiment.experiment_id], "params.seed = '0'")
    assert len(runs) == 3
    for run in runs:
        curve = client.get_metric_history(run.info.run_id, "test_error")
        assert [point.step for point in curve] == [1, 2]

    assert start(plan) == (RunOutcome(), "")  # nothing started, nothing printed


def test_evaluations_added_later_are_measured_without_training(
    write_suite: Write,
    tmp_path: Path,
    tracker: Tracker,
    start: Callable[..., tuple[RunOutcome, str]],
) -> None:
    start(plan_of(write_suite(), "seeds=[0]"))
    more = ("seeds=[0]", "evaluate=[error, fgsm, top5_error, knn, calibration]")
    plan = plan_of(write_suite(), *more)
    outcome, seen = start(plan)
    assert outcome == RunOutcome(started=3)
    assert "3 trials to measure" in seen
    assert "3 trials measured in" in seen
    assert "to run" not in seen
    results = tracker.results(plan.trials)
    for index, trial in enumerate(plan.trials):  # as if they had been there from the start
        (tmp_path / str(index)).mkdir()
        alone = run_trial(trial, data_root=NOWHERE, artifacts=tmp_path / str(index))
        found = results[trial.identity]
        assert found.unmeasured == ()
        assert {r.identity: r.metrics for r in found.measurements} == {
            r.identity: r.metrics for r in alone.measurements
        }
        assert found.weights_digest == alone.weights_digest
        for record in alone.measurements:
            for name in record.artifacts:
                stored = tracker.arrays(trial.identity, name)
                assert stored is not None
                file = tmp_path / str(index) / "measurements" / record.identity / f"{name}.npz"
                with np.load(file) as arrays:
                    assert {k: v.tobytes() for k, v in stored.items()} == {
                        k: v.tobytes() for k, v in arrays.items()
                    }

    other = plan_of(write_suite(("suite: small", "suite: other")), *more)
    outcome, seen = start(other)
    assert outcome == RunOutcome()
    assert seen == "3 trials taken from suite small\n"
    values = [result.metrics for result in results.values()]
    assert [result.metrics for result in tracker.results(other.trials).values()] == values


def test_a_failing_trial_is_reported_and_repeated_by_the_next_run(
    write_suite: Write,
    make_folder: Callable[..., Path],
    tmp_path: Path,
    tracker: Tracker,
    start: Callable[..., tuple[RunOutcome, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = make_folder("mine")
    monkeypatch.chdir(tmp_path)  # a relative path, which no worker shares
    plan = plan_of(
        write_suite(),
        "dataset=./data/mine",
        "losses=[softmax]",
        "seeds=[0]",
        data_root=folder.parent,
    )
    shutil.move(folder, tmp_path / "away")
    outcome, seen = start(plan, folder.parent)
    assert list(outcome.failed) == ["default/softmax/seed0"]
    assert outcome.data_problem.endswith("data/mine: no such folder")
    assert "failed: default/softmax/seed0" in seen
    log = next((tmp_path / "work" / "logs").glob("*.log"))
    assert str(log) in seen
    assert outcome.data_problem in log.read_text(encoding="utf-8")
    assert tracker.results(plan.trials) == {}

    shutil.move(tmp_path / "away", folder)
    again, _ = start(plan, folder.parent)
    assert (again.started, again.failed) == (1, {})
    assert len(tracker.results(plan.trials)) == 1


def test_a_search_tests_only_the_chosen_points(
    write_suite: Write,
    tracker: Tracker,
    start: Callable[..., tuple[RunOutcome, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lossbench.planning.search.ROUND", 2)
    plan = plan_of(
        write_suite(),
        "losses.lgm.alpha={search: {low: 0.01, high: 1}}",
        "selection={holdout: 0.25, samples: 3}",
        "seeds=[0]",
        "recipe.epochs=6",
    )
    outcome, _ = start(plan)
    assert outcome.started == 1 + 3 + 2
    found = load_plan_with_results(plan, tracker)
    trials, results = found.trials, found.results
    assert len(results) == len(trials) == outcome.started
    held_out = [t for t in trials if t.holdout]
    best = min((t for t in held_out if t.loss.name == "lgm"), key=lambda t: _error(results, t))
    assert {t.row for t in trials if not t.holdout} == {"softmax", best.row}
    for trial in held_out:
        assert "holdout_error" in results[trial.identity].history[0].metrics
        assert "test_error" not in results[trial.identity].history[0].metrics
    assert start(plan)[0].started == 0
    assert len(found.plan.rows) == 1 + 3


def _error(results: Mapping[str, TrialResult], trial: Trial) -> float:
    return results[trial.identity].metrics["error"]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(gpus=0.5), "0.5 GPUs, but the largest node has"),
        (Resources(cpus=4096), "needs 4096 CPUs"),
    ],
)
def test_resources_that_no_node_has_are_refused(resources: Resources, expected: str) -> None:
    import torch

    if resources.gpus != "auto" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(RequestError, match=expected), ray_cluster(None, resources):
        pass


def test_two_workers_train_one_trial_through_ray_train(
    write_suite: Write,
    start: Callable[..., tuple[RunOutcome, str]],
    tracker: Tracker,
    tmp_path: Path,
) -> None:
    overrides = ["seeds=[0]", "losses=[center]", "recipe.batch_size=60"]
    plan = check(load_suite(write_suite(), [*overrides, "resources.workers=2"]), NOWHERE)
    outcome, seen = start(plan)
    assert outcome == RunOutcome(started=1)
    assert "1 trials to run, 1 at a time" in seen
    [result] = tracker.results(plan.trials).values()
    [trial] = check(load_suite(write_suite(), overrides), NOWHERE).trials
    (tmp_path / "alone").mkdir()
    alone = run_trial(trial, data_root=NOWHERE, artifacts=tmp_path / "alone")
    assert len(result.history) == 2
    for ours, theirs in zip(result.history, alone.history, strict=True):
        assert ours.metrics == pytest.approx(theirs.metrics, rel=1e-4, abs=0.5)  # one image: 0.17
    assert [r.metrics["train_loss"] for r in result.history] == pytest.approx(
        [r.metrics["train_loss"] for r in alone.history], rel=1e-4
    )


def test_more_workers_than_the_cluster_has_room_for() -> None:
    with (
        pytest.raises(RequestError, match="99 workers with 1 CPUs and 0 GPUs each, but only"),
        ray_cluster(None, Resources(workers=99, gpus=0)),
    ):
        pass


def test_a_changed_image_ends_the_run_with_one_message(
    write_suite: Write, start: Callable[..., tuple[RunOutcome, str]], tmp_path: Path
) -> None:
    root = tmp_path / "data"
    for part in ("train", "val"):
        for k in range(2):
            (root / "mine" / part / f"class{k}").mkdir(parents=True)
            for i in range(6):
                image = Image.new("RGB", (12, 12), (90 * k, 20 * i, 0))
                image.save(root / "mine" / part / f"class{k}/{i}.png")
    overrides = ["dataset=mine", "recipe.input.crop=8", "recipe.batch_size=4"]
    plan = check(load_suite(write_suite(), overrides), root)
    path = root / "mine/train/class1/3.png"
    path.write_bytes(path.read_bytes()[:40].ljust(path.stat().st_size, b"x"))  # the same size
    outcome, seen = start(plan, root)
    assert outcome.data_problem.startswith(f"data set 'mine' in {root} ")
    assert f"but the suite was planned with {plan.table_digest}" in outcome.data_problem
    assert "\n" not in outcome.data_problem
    assert "Traceback" not in seen
