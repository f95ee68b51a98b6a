"""What limits a table of many trials in Ray Tune and MLflow, with trials that only sleep."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import psutil
from rich.console import Console

from benchmarks.sleeping_job import EPOCHS, sleeping_job
from lossbench.assembly.check import check
from lossbench.planning.plan import Plan
from lossbench.runner.cluster import ray_cluster
from lossbench.runner.environment import environment
from lossbench.runner.outbox import Outbox
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker

ROWS = 10
CPUS_PER_TRIAL = 0.001
SUITE = """\
suite: sleeping
dataset: digits
model: digits_cnn
recipe: {{epochs: {epochs}, batch_size: 64, optimizer: {{name: sgd, lr: 0.03, momentum: 0.9}}}}
seeds: {seeds}
reference: softmax
losses:
  - softmax
  - lgm: {{alpha: {{grid: [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]}}}}
"""


@dataclass(frozen=True)
class Measured:
    """One run of sleeping trials.

    Attributes:
        trials: Number of trials.
        at_once: Largest number of trials that may run at once.
        workers: Largest number of workers that there were.
        logged: Whether results were logged to MLflow (SQLite).
        wall_sec: Time from the first submission to the last result in MLflow.
        driver_cpu_sec: Time of the driver's processor per trial.
        driver_mib: Growth of the driver's resident memory.
        worker_mib: Largest mean of the unshared memory of the workers, without torch.
    """

    trials: int
    at_once: int
    workers: int
    logged: bool
    wall_sec: float
    driver_cpu_sec: float
    driver_mib: float
    worker_mib: float

    @property
    def trials_per_sec(self) -> float:
        """Trials of the run per second of its wall time."""
        return self.trials / self.wall_sec


class _NoTracker:
    """Tracker that stores nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


class _Workers(threading.Thread):
    """Observer of the number and the memory of Ray's workers on this machine."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self.most, self.mean_mib = 0, 0.0

    def run(self) -> None:
        while not self._ended.wait(5.0):
            sizes = [size for size in map(_worker_bytes, psutil.Process().children(True)) if size]
            if len(sizes) >= max(self.most, 1):
                self.most, self.mean_mib = len(sizes), sum(sizes) / len(sizes) / 2**20

    def end(self) -> None:
        self._ended.set()
        self.join()


def _worker_bytes(process: psutil.Process) -> int:
    """Unshared memory of a worker of Ray; 0 of any other process."""
    try:
        is_worker = process.cmdline()[:1] == ["ray::ImplicitFunc"]  # Tune's class for functions
        return process.memory_full_info().uss if is_worker else 0
    except psutil.Error:  # it has ended
        return 0


def measure(trials: int, at_once: int, sleep_sec: float, *, logged: bool) -> Measured:
    """Run sleeping trials with the code of `lossbench run` and made-up results.

    Args:
        trials: Number of trials; rounded down to a multiple of ten.
        at_once: Number of trials at once, each with a thousandth of a CPU.
        sleep_sec: Duration of a trial.
        logged: Whether the results are logged to MLflow.
    """
    os.environ.setdefault("RAY_worker_niceness", "0")
    with TemporaryDirectory() as name:
        folder = Path(name)
        plan = _plan(folder, trials)
        with ray_cluster(None, plan.suite.resources) as found:
            from lossbench.runner import tune_jobs  # it imports ray

            tracker: Any = _NoTracker()
            if logged:
                tracker = Tracker.open(f"sqlite:///{folder}/mlflow.db")
                tracker.start_suite(plan, environment(plan.trials[0]))
            process, workers = psutil.Process(), _Workers()
            workers.start()
            memory, cpu, started = process.memory_info().rss, time.process_time(), time.monotonic()
            with patch.object(tune_jobs, "run_job", sleeping_job(sleep_sec)):
                recorder = tune_jobs.run_trials(
                    plan.trials,
                    {trial.identity: EPOCHS for trial in plan.trials},
                    replace(found, cpus=CPUS_PER_TRIAL, concurrent=at_once),
                    tracker,
                    Outbox(folder, "sleeping"),
                    data_root=folder,
                    work=folder,
                    console=Console(quiet=True),
                    checkpoint_sec=10.0,
                    fail_fast=False,
                )
            measured = Measured(
                trials=len(plan.trials),
                at_once=at_once,
                workers=workers.most,
                logged=logged,
                wall_sec=time.monotonic() - started,
                driver_cpu_sec=(time.process_time() - cpu) / len(plan.trials),
                driver_mib=(process.memory_info().rss - memory) / 2**20,
                worker_mib=workers.mean_mib,
            )
            workers.end()
        assert len(recorder.finished) == len(plan.trials), recorder.failed
        return measured


def _plan(folder: Path, trials: int) -> Plan:
    path = folder / "sleeping.yaml"
    seeds = list(range(max(1, trials // ROWS)))
    path.write_text(SUITE.format(epochs=EPOCHS, seeds=seeds), encoding="utf-8")
    return check(load_suite(path), folder / "data")
