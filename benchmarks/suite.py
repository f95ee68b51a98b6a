"""Overhead of the tool: a suite of short trials, and commands on tables of many trials."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lossbench.assembly.check import check
from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, MeasurementRecord, TrialResult
from lossbench.runner.environment import environment
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker

PROCESSES = 2
SHORT = """\
suite: short
dataset: digits
model: {{name: digits_cnn, feature_dim: 32, feature_relu: true}}
recipe:
  epochs: {epochs}
  batch_size: 64
  optimizer: {{name: sgd, lr: 0.03, momentum: 0.9}}
seeds: {seeds}
losses: [softmax]
"""
MANY = """\
suite: many
dataset: digits
model: digits_cnn
recipe:
  epochs: 21
  batch_size: 64
  optimizer: {{name: sgd, lr: 0.03, momentum: 0.9}}
variants: {{{columns}}}
seeds: [0, 1, 2, 3, 4]
reference: softmax
losses:
  - softmax
  - lgm: {{alpha: {{grid: {alphas}}}}}
"""


@dataclass(frozen=True)
class Measured:
    """One measured number.

    Attributes:
        what: Description of the number.
        value: Seconds, or the ratio that `what` describes.
        bar: Target that it should not exceed; None: no target.
    """

    what: str
    value: float
    bar: float | None = None


def short_trials(trials: int, epochs: int) -> Iterator[Measured]:
    """Compare `lossbench run` with two plain processes that train the same seeds in a loop."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "short.yaml"
        path.write_text(SHORT.format(epochs=epochs, seeds=list(range(trials))), encoding="utf-8")
        plan = _plan(path, folder)
        started = time.time()
        took = _lossbench(folder, "run", path.name, "--yes")
        found = Tracker.open(_uri(folder), create=False).results(plan.trials).values()
        first = min(result.history[0].timestamp_ms for result in found) / 1000 - started
        ends = sorted(result.history[-1].timestamp_ms / 1000 for result in found)
        with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
            list(pool.map(_bare, plan.trials[:PROCESSES]))  # imports
            bare = list(pool.map(_bare, plan.trials))
    # from the end of the second trial on, each process trains half of the others
    steady = (ends[-1] - ends[PROCESSES - 1]) / (sum(bare) / trials * (trials - PROCESSES))
    yield Measured(f"{trials} trials of {epochs} epochs, with the report", took)
    yield Measured("from the call to the end of the first epoch", first, 15)
    yield Measured("a plain trial in one of two processes", sum(bare) / trials)
    yield Measured("wall time to half the sum of plain trials", steady * PROCESSES, 1.10)


def many_trials(trials: int) -> Iterator[Measured]:
    """Time `plan`, `report` and `check` on trials with synthetic results."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        path, plan = _many(folder, trials)
        yield from _log(plan, folder, images=300)
        for verb, more in (("plan", []), ("report", []), ("check", ["--update"]), ("check", [])):
            took = _lossbench(folder, verb, path.name, *more)
            command = " ".join([verb, *more])
            yield Measured(f"{command} of {len(plan.trials)} trials", took, None if more else 5)


def archived_trials(trials: int) -> Iterator[Measured]:
    """Time `export` and `import` of trials with synthetic predictions of 10,000 images."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        path, plan = _many(folder, trials)
        list(_log(plan, folder, images=10_000))
        took = _lossbench(folder, "export", path.name, "--output", "many.zip")
        yield Measured(f"export of {len(plan.trials)} trials", took, 30)
        size = (folder / "many.zip").stat().st_size
        yield Measured("size of the archive, MB", size / 1e6)
        (folder / "other").mkdir()
        took = _lossbench(folder / "other", "import", "../many.zip")
        yield Measured(f"import of {len(plan.trials)} trials into an empty store", took, 30)
        took = _lossbench(folder / "other", "import", "../many.zip")
        yield Measured("the same again, which changes nothing", took)
        took = _lossbench(folder, "report", "--from", "many.zip", "--format", "json")
        yield Measured("report --format json from the archive", took)


def _many(folder: Path, trials: int) -> tuple[Path, Plan]:
    """A suite of ten rows and five seeds, with as many columns as give this number of trials."""
    rows, seeds = 10, 5
    columns = max(1, trials // rows // seeds)
    path = folder / "many.yaml"
    variants = (f"{3 + k}-D: {{model: {{feature_dim: {3 + k}}}}}" for k in range(columns))
    alphas = [k / 10 for k in range(rows - 1)]
    path.write_text(MANY.format(columns=", ".join(variants), alphas=alphas), encoding="utf-8")
    return path, _plan(path, folder)


def _log(plan: Plan, folder: Path, images: int) -> Iterator[Measured]:
    """Log normally distributed results around 5 %; time the first and the last hundred."""
    random = np.random.default_rng(0)
    tracker = Tracker.open(_uri(folder))
    tracker.start_suite(plan, environment(plan.trials[0]))
    arrays = folder / "arrays"
    arrays.mkdir()
    marks = [time.perf_counter()]
    for trial in plan.trials:
        np.savez(
            arrays / "predictions.npz",
            labels=np.arange(images) % 10,
            predicted=(np.arange(images) + (random.random(images) < 0.05)) % 10,
            posterior=random.random(images, dtype=np.float32),
        )
        tracker.begin(trial)
        tracker.finish(trial, _made_up(trial, random), arrays)
        marks.append(time.perf_counter())
    tracker.finish_suite("FINISHED")
    part = min(100, len(plan.trials))
    yield Measured(f"logging a trial, first {part}", (marks[part] - marks[0]) / part)
    yield Measured(f"logging a trial, last {part}", (marks[-1] - marks[-1 - part]) / part)


def _made_up(trial: Trial, random: np.random.Generator) -> TrialResult:
    error = float(random.normal(5, 0.5))
    history = tuple(
        EpochRecord(
            epoch=epoch,
            timestamp_ms=1_700_000_000_000 + 1000 * epoch,
            metrics={
                "train_loss": 1 / epoch,
                "train_cross_entropy": 0.9 / epoch,
                "train_likelihood": 0.1 / epoch,
                "train_error": 9.0,
                "lr": 0.03,
                "test_error": error + random.normal(0, 1),
            },
        )
        for epoch in range(1, 22)
    )
    [identity], [evaluation] = trial.measurement_identities, trial.evaluate
    measured = MeasurementRecord(
        identity=identity,
        name=evaluation.name,
        params=evaluation.params,
        metrics={"error": error},
        device="cpu",
        environment=dict(environment(trial)),
    )
    return TrialResult(
        identity=trial.identity,
        status="finished",
        metrics={"error": error},
        measurements=(measured,),
        weights_digest=trial.identity,
        history=history,
        wall_time_sec=20.0,
        peak_memory_mib=500.0,
        device="cpu",
        environment=dict(environment(trial)),
    )


def _bare(trial: Trial) -> float:
    with TemporaryDirectory() as artifacts:
        started = time.perf_counter()
        run_trial(trial, data_root=Path("data"), artifacts=Path(artifacts))
        return time.perf_counter() - started


def _plan(path: Path, folder: Path) -> Plan:
    return check(load_suite(path), folder / "data")


def _uri(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def _lossbench(folder: Path, *arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "lossbench.cli", *arguments],
        cwd=folder,
        check=True,
        env=os.environ | {"MLFLOW_TRACKING_URI": _uri(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started
