"""Kill workers, the driver or all processes at random times: no result is lost or differs.

`LOSSBENCH_SOAK_KILLS` says how many kills (default: one, for every test run; `tox -e soak`: 50).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from mlflow import MlflowClient

from lossbench.assembly.check import check
from lossbench.planning.plan import Plan
from lossbench.records import TrialResult
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from lossbench.tracking import names
from lossbench.tracking.store import Tracker

pytestmark = [pytest.mark.ray, pytest.mark.slow]

KILLS = int(os.environ.get("LOSSBENCH_SOAK_KILLS", "1"))
SEED = int(os.environ.get("LOSSBENCH_SOAK_SEED", "0"))
EPOCHS, SEEDS = (60, [0, 1]) if KILLS > 10 else (20, [0])
VICTIMS = ("everything", "worker", "driver", "worker")
NOWHERE = Path("/nonexistent/data")
SUITE = f"""\
suite: soak
dataset: {{name: digits, train_size: 400, test_size: 200}}
model: {{name: digits_cnn, feature_dim: 8}}
recipe:
  epochs: {EPOCHS}
  batch_size: 32
  optimizer: {{name: sgd, lr: 0.03, momentum: 0.9}}
  schedule: {{name: multistep, milestones: [15]}}
variants:
  default: {{augment: [random_crop: {{padding: 1}}]}}
seeds: {SEEDS}
losses:
  - center
  - lgm: {{alpha: 0.3, alpha_start: 0.01}}
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    path = tmp_path_factory.mktemp("soak") / "soak.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return check(load_suite(path), NOWHERE)


@pytest.fixture(scope="module")
def undisturbed(
    plan: Plan, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[TrialResult, Path]]:
    torch.set_num_threads(1)
    done = {}
    for trial in plan.trials:
        folder = tmp_path_factory.mktemp("undisturbed")
        done[trial.identity] = (run_trial(trial, data_root=NOWHERE, artifacts=folder), folder)
    return done


@contextlib.contextmanager
def started(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`lossbench run`, and afterwards nothing of it any more."""
    arguments = ["run", "soak.yaml", "--checkpoint-every", "0"]
    command = [sys.executable, "-m", "lossbench.cli", *arguments]
    with (folder / "seen.txt").open("a", encoding="utf-8") as seen:
        driver = subprocess.Popen(
            command, cwd=folder, stdout=seen, stderr=seen, text=True, encoding="utf-8"
        )
    try:
        yield driver
    finally:
        _kill_all(_family(driver.pid), driver)


def _family(pid: int) -> list[psutil.Process]:
    """A process and all its descendants."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _kill_all(family: list[psutil.Process], driver: subprocess.Popen[str]) -> None:
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    if any(process.pid == driver.pid for process in family):
        driver.wait(timeout=60)  # before psutil does, which would take its exit code
    psutil.wait_procs(family, timeout=30)


def _workers(pid: int) -> list[psutil.Process]:
    found = []
    for process in _family(pid):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(part.startswith("ray::") and "train" in part for part in process.cmdline()):
                found.append(process)
    return found


def _newest_checkpoint(folder: Path) -> float:
    times = [0.0]
    for path in (folder / ".lossbench" / "checkpoints").glob("*/epoch-*"):
        with contextlib.suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times)


def _kill_something(
    driver: subprocess.Popen[str], folder: Path, chance: random.Random, victim: str
) -> bool:
    """Kill processes of a run at a random time; return whether the run was still going."""
    since, deadline = _newest_checkpoint(folder), time.monotonic() + 300
    while _newest_checkpoint(folder) <= since:  # it trains
        if driver.poll() is not None:
            return False
        assert time.monotonic() < deadline, (folder / "seen.txt").read_text(encoding="utf-8")
        time.sleep(0.02)
    time.sleep(chance.uniform(0, 3))
    workers = _workers(driver.pid)
    if driver.poll() is not None or (victim == "worker" and not workers):
        return False
    family = _family(driver.pid)
    if victim == "worker":
        _kill_all([chance.choice(workers)], driver)
    elif victim == "driver":
        driver.kill()
        driver.wait()
        time.sleep(chance.uniform(0, 2))  # Ray's processes notice, or are still there
        _kill_all(family, driver)
    else:
        _kill_all(family, driver)
    return True


def _disturbed_round(folder: Path, wanted: int, chance: random.Random) -> Counter[str]:
    """Run the suite to its end with kills; return how often each kind of process was killed."""
    killed: Counter[str] = Counter()
    for _ in range(10 + 2 * wanted):
        with started(folder) as driver:
            while driver.poll() is None:
                if killed.total() >= wanted:
                    driver.wait(timeout=300)
                    break
                victim = VICTIMS[killed.total() % len(VICTIMS)]
                if _kill_something(driver, folder, chance, victim):
                    killed[victim] += 1
            if driver.returncode == 0:
                return killed
            assert driver.returncode in (1, -9), (folder / "seen.txt").read_text(encoding="utf-8")
    raise AssertionError((folder / "seen.txt").read_text(encoding="utf-8"))


def test_killed_processes_do_not_change_results(
    plan: Plan, undisturbed: dict[str, tuple[TrialResult, Path]], tmp_path: Path
) -> None:
    chance, killed, rounds = random.Random(SEED), Counter[str](), 0
    while killed.total() < KILLS:
        rounds += 1
        folder = tmp_path / str(rounds)
        folder.mkdir()
        (folder / "soak.yaml").write_text(SUITE, encoding="utf-8")
        killed += _disturbed_round(folder, KILLS - killed.total(), chance)
        _compare(plan, undisturbed, folder)
        print(f"round {rounds}: {dict(killed)} killed so far, results identical", flush=True)


def _compare(plan: Plan, undisturbed: dict[str, tuple[TrialResult, Path]], folder: Path) -> None:
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    results = Tracker.open(uri, create=False).results(plan.trials)
    client = MlflowClient(uri)
    [experiment] = client.search_experiments(filter_string="name = 'soak'")
    runs = client.search_runs([experiment.experiment_id], "tags.`lossbench.kind` = 'trial'")
    assert Counter(run.data.tags[names.IDENTITY] for run in runs) == Counter(list(undisturbed))
    for run in runs:
        identity = run.data.tags[names.IDENTITY]
        ours, (theirs, artifacts) = results[identity], undisturbed[identity]
        assert ours.metrics == theirs.metrics
        assert [r.metrics for r in ours.history] == [r.metrics for r in theirs.history]
        assert run.info.status == "FINISHED"
        curve = client.get_metric_history(run.info.run_id, "test_error")
        assert [point.step for point in curve] == list(range(1, EPOCHS + 1))  # none twice
        logged = folder / "mlartifacts" / "soak" / run.info.run_id / "artifacts"
        weights = [torch.load(f / "weights.pt", weights_only=True) for f in (logged, artifacts)]
        for part in ("model", "head"):
            for name, tensor in weights[1][part].items():
                assert torch.equal(weights[0][part][name], tensor)
    assert list((folder / ".lossbench" / "checkpoints").glob("*")) == []
    assert json.loads((folder / "reports" / "soak" / "results.json").read_text(encoding="utf-8"))
