"""SIGTERM and SIGHUP at every stage of `lossbench run`: orderly end, later continuation."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from mlflow import MlflowClient

from lossbench.assembly.check import check
from lossbench.cli.signals import StopSignals
from lossbench.planning.plan import Plan
from lossbench.runner.trial import run_trial
from lossbench.runner.trial_locks import TrialLocks
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker
from tests.synthetic_measurements import measurements_of

NOWHERE = Path("/nonexistent/data")
MARK = "LOSSBENCH_TEST_RUN"
SUITE = """\
suite: stopped
dataset: {name: digits, train_size: 400, test_size: 200}
model: {name: digits_cnn, feature_dim: 2}
recipe:
  epochs: 40
  batch_size: 32
  optimizer: {name: sgd, lr: 0.03, momentum: 0.9}
seeds: [0]
losses: [softmax, center]
"""
TO_THE_PROCESS, TO_ITS_GROUP = os.kill, os.killpg


def as_in_a_terminal() -> None:
    """Handle SIGHUP by default, in case these tests run under `nohup`."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@dataclass
class Started:
    """A `lossbench` process in its own process group."""

    process: subprocess.Popen[bytes]
    folder: Path
    mark: str

    @property
    def seen(self) -> str:
        return (self.folder / "seen.txt").read_text(encoding="utf-8")

    def wait_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 240
        while not condition():
            assert self.process.poll() is None, self.seen
            assert time.monotonic() < deadline, self.seen
            time.sleep(0.05)

    def ends_with(self, code: int) -> str:
        """Wait for the exit code and return the output; no child process or traceback is left."""
        assert self.process.wait(timeout=60) == code, self.seen
        _, alive = psutil.wait_procs(self.family(), timeout=15)
        assert not alive
        for trace in ("Traceback", "*** SIG", "PC: @"):
            assert trace not in self.seen
        return self.seen

    def family(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark:
                    found.append(process)
        return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    all_started: list[Started] = []
    (tmp_path / "stopped.yaml").write_text(SUITE, encoding="utf-8")

    def run(*options: str) -> Started:
        mark = uuid.uuid4().hex
        environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        with (tmp_path / "seen.txt").open("wb") as seen:
            process = subprocess.Popen(
                [sys.executable, "-m", "lossbench.cli", "run", "stopped.yaml", *options],
                cwd=tmp_path,
                env={**environment, MARK: mark},
                stdout=seen,
                stderr=seen,
                start_new_session=True,
                preexec_fn=as_in_a_terminal,
            )
        all_started.append(Started(process, tmp_path, mark))
        return all_started[-1]

    yield run
    for started in all_started:
        for process in started.family():
            with contextlib.suppress(psutil.Error):
                process.kill()
        started.process.wait()


@pytest.fixture
def plan(start: Callable[..., Started], tmp_path: Path) -> Plan:
    return check(load_suite(tmp_path / "stopped.yaml"), NOWHERE)


def table_status(folder: Path) -> list[str]:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    [experiment] = client.search_experiments(filter_string="name = 'stopped'")
    runs = client.search_runs([experiment.experiment_id], "tags.`lossbench.kind` = 'table'")
    return [run.info.status for run in runs]


def last_epoch(folder: Path) -> str:
    """Name of the checkpoint of the latest epoch of any trial; "" before the first one."""
    checkpoints = (folder / ".lossbench" / "checkpoints").glob("*/epoch-*")
    return max((path.name for path in checkpoints), default="")


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("one_ray")
def test_while_trials_run(
    start: Callable[..., Started],
    plan: Plan,
    run: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each signal stops the run, the next run continues, and the results stay the same."""
    for number, send in ((signal.SIGTERM, TO_ITS_GROUP), (signal.SIGHUP, TO_THE_PROCESS)):
        before = last_epoch(tmp_path)
        started = start("--checkpoint-every", "0")
        started.wait_until(lambda before=before: last_epoch(tmp_path) > before)
        send(started.process.pid, number)
        time.sleep(0.5)
        started.process.send_signal(number)  # one more while it stops changes nothing
        seen = started.ends_with(128 + number)
        assert "trials left; run the same command to continue" in seen
        assert "died" not in seen
        assert table_status(tmp_path) == ["KILLED"]
        assert last_epoch(tmp_path)

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code, _, err = run("run", "stopped.yaml")
    assert code == 0, err
    assert table_status(tmp_path) == ["FINISHED"]
    results = Tracker.open(f"sqlite:///{tmp_path / 'mlflow.db'}").results(plan.trials)
    for trial in plan.trials:
        artifacts = tmp_path / trial.identity
        artifacts.mkdir()
        alone = run_trial(trial, data_root=NOWHERE, artifacts=artifacts)
        assert results[trial.identity].metrics == alone.metrics
        history = results[trial.identity].history
        assert [e.metrics for e in history] == [e.metrics for e in alone.history]


@pytest.mark.ray
def test_while_ray_starts(start: Callable[..., Started]) -> None:
    started = start()
    started.wait_until(lambda: any(p.name() == "gcs_server" for p in started.family()))
    started.process.terminate()
    assert "stopped" in started.ends_with(143)


@pytest.mark.ray
def test_while_another_process_runs_the_trials(
    start: Callable[..., Started], plan: Plan, tmp_path: Path
) -> None:
    locks = TrialLocks(tmp_path / ".lossbench")
    assert len(locks.acquire(plan.trials)) == 2
    started = start()
    started.wait_until(lambda: "waiting for trials that another process runs" in started.seen)
    started.process.terminate()
    assert "stopped: 2 trials left; run the same command to continue" in started.ends_with(143)
    assert table_status(tmp_path) == ["KILLED"]


def test_while_the_suite_is_checked(start: Callable[..., Started], tmp_path: Path) -> None:
    plugin = "import pathlib, time; pathlib.Path('reached').touch(); time.sleep(300)"
    (tmp_path / "slow.py").write_text(plugin, encoding="utf-8")
    for number, send in ((signal.SIGTERM, TO_ITS_GROUP), (signal.SIGHUP, TO_THE_PROCESS)):
        started = start("--plugin", "slow.py")
        started.wait_until((tmp_path / "reached").exists)
        send(started.process.pid, number)
        assert "stopped; run the same command to continue" in started.ends_with(128 + number)
        (tmp_path / "reached").unlink()
    assert not (tmp_path / "mlflow.db").exists()


SLOW_REPORT = """\
import pathlib, time
from lossbench.losses import LOSSES, LossHead
from lossbench.report import build

@LOSSES.register("unused")
class Unused(LossHead):
    def logits(self, features):
        return features

    def terms(self, features, labels):
        return {}

def build_report(*_, **__):
    pathlib.Path('reached').touch()
    time.sleep(300)

build.build_report = build_report
"""


def test_while_the_report_is_written(
    start: Callable[..., Started], plan: Plan, tmp_path: Path
) -> None:
    tracker = Tracker.open(f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracker.start_suite(plan, {})
    for trial in plan.trials:
        artifacts = tmp_path / trial.identity
        artifacts.mkdir()
        np.savez(artifacts / "predictions.npz", labels=np.arange(6), correct=np.eye(2, dtype=bool))
        result = run_trial(
            trial.model_copy(update={"recipe": trial.recipe.model_copy(update={"epochs": 1})}),
            data_root=NOWHERE,
            artifacts=artifacts,
        )
        measured = measurements_of(trial, result.metrics)
        update = {"identity": trial.identity, "measurements": measured}
        result = result.model_copy(update=update)
        tracker.finish(trial, result, artifacts)
    tracker.finish_suite("FINISHED")
    (tmp_path / "slow.py").write_text(SLOW_REPORT, encoding="utf-8")
    started = start("--plugin", "slow.py")
    started.wait_until((tmp_path / "reached").exists)
    started.process.terminate()
    assert "stopped; run the same command to continue" in started.ends_with(143)
    assert table_status(tmp_path) == ["FINISHED"]


def test_a_closed_terminal(tmp_path: Path) -> None:
    """Writing to a closed terminal fails."""
    slow = "import pathlib, time; pathlib.Path('reached').touch(); time.sleep(300)"
    (tmp_path / "slow.py").write_text(slow, encoding="utf-8")
    (tmp_path / "stopped.yaml").write_text(SUITE, encoding="utf-8")
    child, terminal = os.forkpty()
    if child == 0:
        as_in_a_terminal()
        os.chdir(tmp_path)
        command = ["-m", "lossbench.cli", "run", "stopped.yaml", "--plugin", "slow.py"]
        os.execv(sys.executable, [sys.executable, *command])
    deadline = time.monotonic() + 120
    while not (tmp_path / "reached").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 129


def test_ignored_signals_stay_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        stop = StopSignals()
        stop.install()
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.exit_code == 0
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # a second one is not raised
        assert stop.exit_code == 143
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
