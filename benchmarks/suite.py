"""Overhead of the tool: a suite of short trials, and commands on tables of many trials."""

from __future__ import annotations

import io
import os
import shutil
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

import lossbench
from benchmarks.sleeping_job import made_up_result
from lossbench.assembly.check import check
from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.runner.environment import environment
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker

PROCESSES = 2
DIGITS = Path(lossbench.__file__).parent.parent / "suites" / "digits.yaml"
RUN = ("run", "digits.yaml")
CACHE = "cache"
BARS = {
    1000: {"plan": 3.0, "check": 3.0, "report": 5.0},
    10_000: {"plan": 8.0, "check": 8.0, "report": 20.0, "memory": 1.2 * 1024},
}
"""Number of trials -> targets in seconds and MiB."""
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


@dataclass(frozen=True)
class Command:
    """Time of a command as a whole process, and its peak memory."""

    sec: float
    peak_mib: float


def short_trials(trials: int, epochs: int) -> Iterator[Measured]:
    """Compare `lossbench run` with two plain processes that train the same seeds in a loop."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "short.yaml"
        path.write_text(SHORT.format(epochs=epochs, seeds=list(range(trials))), encoding="utf-8")
        plan = _plan(path, folder)
        started = time.time()
        took = _lossbench(folder, "run", path.name, "--yes").sec
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


def start_up(rounds: int = 5) -> Iterator[Measured]:
    """Time commands that train nothing and read no results."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for command, bar in ((["--help"], 0.3), (["list", "losses"], 1.0)):
            _lossbench(folder, *command)  # for the first time after an installation
            took = min(_lossbench(folder, *command).sec for _ in range(rounds))
            yield Measured(" ".join(command), took, bar)


def second_run() -> Iterator[Measured]:
    """Time `run` of 48 digits trials of one epoch that have all results and their report."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "digits.yaml").write_text(DIGITS.read_text(encoding="utf-8"), encoding="utf-8")
        options = ["--set", "recipe.epochs=1", "--seeds", "0,1,2", "--yes"]
        yield Measured("run of 48 trials of one epoch", _lossbench(folder, *RUN, *options).sec)
        yield Measured("the same again", _lossbench(folder, *RUN, *options).sec)
        yield Measured("and again", _lossbench(folder, *RUN, *options).sec, 3)


def many_trials(trials: int) -> Iterator[Measured]:
    """Time `plan`, `check` and `report` on trials with synthetic results, with empty caches."""
    bars = BARS.get(trials, {})
    with TemporaryDirectory() as name:
        folder = Path(name)
        path, plan = _many(folder, trials)
        yield from _log(plan, folder, images=300)
        of = f"of {len(plan.trials)} trials"
        _lossbench(folder, "check", path.name, "--update")
        for verb in ("plan", "check", "report"):
            shutil.rmtree(folder / CACHE, ignore_errors=True)
            for what in (f"{verb} {of}", f"{verb} {of}, again"):
                took = _lossbench(folder, verb, path.name)
                yield Measured(f"{what}, seconds", took.sec, bars.get(verb))
                yield Measured(f"{what}, peak memory, MiB", took.peak_mib, bars.get("memory"))


def archived_trials(trials: int) -> Iterator[Measured]:
    """Time `export` and `import` of trials with synthetic predictions of 10,000 images."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        path, plan = _many(folder, trials)
        list(_log(plan, folder, images=10_000))
        took = _lossbench(folder, "export", path.name, "--output", "many.zip").sec
        yield Measured(f"export of {len(plan.trials)} trials", took, 30)
        size = (folder / "many.zip").stat().st_size
        yield Measured("size of the archive, MB", size / 1e6)
        (folder / "other").mkdir()
        took = _lossbench(folder / "other", "import", "../many.zip").sec
        yield Measured(f"import of {len(plan.trials)} trials into an empty store", took, 30)
        took = _lossbench(folder / "other", "import", "../many.zip").sec
        yield Measured("the same again, which changes nothing", took)
        took = _lossbench(folder, "report", "--from", "many.zip", "--format", "json").sec
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
    """Store normally distributed results around 5 %; time logging of the first and last ones."""
    random = np.random.default_rng(0)
    tracker = Tracker.open(_uri(folder))
    tracker.start_suite(plan, environment(plan.trials[0]))
    part = min(100, len(plan.trials) // 2)
    ends = {"first": plan.trials[:part], "last": plan.trials[-part:]}
    for name, trials in ends.items():
        if name == "last":
            others = plan.trials[part:-part]
            tracker.import_trainings(_training(trial, random, images) for trial in others)
        took = 0.0
        for trial in trials:
            _, result, [(file, content)] = _training(trial, random, images)
            artifacts = folder / "arrays"
            artifacts.mkdir(exist_ok=True)
            (artifacts / file).write_bytes(content)
            started = time.perf_counter()
            tracker.begin(trial)
            tracker.finish(trial, result, artifacts)
            took += time.perf_counter() - started
        total = f"{name} {part} of {len(plan.trials)}"
        yield Measured(f"logging a trial, {total}, seconds", took / part)
    tracker.finish_suite("FINISHED")


def _training(
    trial: Trial, random: np.random.Generator, images: int
) -> tuple[Trial, TrialResult, list[tuple[str, bytes]]]:
    content = io.BytesIO()
    np.savez(
        content,
        labels=np.arange(images) % 10,
        predicted=(np.arange(images) + (random.random(images) < 0.05)) % 10,
        posterior=random.random(images, dtype=np.float32),
    )
    result = made_up_result(trial, float(random.normal(5, 0.5)))
    return trial, result, [("predictions.npz", content.getvalue())]


def _bare(trial: Trial) -> float:
    with TemporaryDirectory() as artifacts:
        started = time.perf_counter()
        run_trial(trial, data_root=Path("data"), artifacts=Path(artifacts))
        return time.perf_counter() - started


def _plan(path: Path, folder: Path) -> Plan:
    return check(load_suite(path), folder / "data")


def _uri(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def _lossbench(folder: Path, *arguments: str) -> Command:
    """Run a command with a cache folder of its own."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "lossbench.cli", *arguments],
        cwd=folder,
        env=os.environ
        | {"MLFLOW_TRACKING_URI": _uri(folder), "XDG_CACHE_HOME": str(folder / CACHE)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - started
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return Command(took, usage.ru_maxrss / 1024)
