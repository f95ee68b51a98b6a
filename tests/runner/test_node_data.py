"""Cluster of two nodes, one without access to the driver's files and its lossbench."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

import lossbench
from lossbench.assembly.check import check
from lossbench.data.prepared import save_prepared
from lossbench.data.sources import DATASETS
from lossbench.runner.environment import environment
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from lossbench.tracking.store import Tracker

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(
        "LOSSBENCH_TWO_NODES" not in os.environ, reason="takes two minutes: tox -e nodes"
    ),
]

PACKAGE = Path(lossbench.__file__).parent
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
LOSSBENCH = [sys.executable, "-c", "from lossbench.cli.main import main; main()"]
TUNING = {
    "RAY_worker_niceness": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "3",
}
"""Settings of Ray: a node that does not respond is dropped after seconds, and workers have the same
priority as other processes."""

EARLY = "epoch-0000000[2-9].pt"
"""Checkpoints of a trial that is not about to end; the one before has reached the driver."""


@dataclass
class Node:
    """A node of a cluster.

    Attributes:
        process: Its `ray start --block`.
        folder: For its temporary files, outside of what may be hidden from it.
    """

    process: subprocess.Popen[bytes]
    folder: Path

    def kill(self) -> None:
        """Kill all processes of the node, as a power cut would."""
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            for process in [parent, *parent.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait()


def hiding(folders: Sequence[Path]) -> list[str]:
    """Command prefix that replaces folders with empty ones; [] if the system does not allow it."""
    mounts = "".join(f"mount -t tmpfs none '{folder}' && " for folder in folders)
    able = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    try:
        subprocess.run([*able, f"{mounts}true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [*able, f'{mounts}exec "$@"', "sh"]


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Function that starts nodes of a cluster; they are stopped after the test."""
    nodes: list[Node] = []
    # short, for the names of sockets
    short = Path(tempfile.mkdtemp(prefix="lb-", dir="/tmp"))

    def start(address: str, *options: str, first: Sequence[str] = ()) -> Node:
        folder = short / address
        folder.mkdir()
        local = {name: str(folder) for name in ("TMPDIR", "XDG_CACHE_HOME", "RAY_TMPDIR")}
        command = [*first, *RAY, "start", "--block", f"--node-ip-address={address}"]
        command += ["--num-cpus=1", "--num-gpus=0", f"--object-store-memory={2**27}"]
        command += ["--disable-usage-stats", "--include-log-monitor=false"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, *options],
                cwd=folder,
                env=variables() | local | TUNING,
                stdout=log,
                stderr=log,
            )
        nodes.append(Node(process, folder))
        return nodes[-1]

    yield start
    for node in nodes:
        node.kill()
    shutil.rmtree(short)


def variables() -> dict[str, str]:
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-this-test" * 4}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "LOSSBENCH_"))}
    return kept | own


def wait(until: Callable[[], object], what: str, driver: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 150
    while not until():
        assert driver.poll() is None, f"it ended before {what}"
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_a_node_without_shared_files_runs_trials_and_may_die(
    start_node: Callable[..., Node], write_suite: Callable[..., Path], tmp_path: Path, uri: str
) -> None:
    work = tmp_path / "folder"
    work.mkdir()
    data = tmp_path / "data"
    fetch = DATASETS["digits"].create().fetch
    assert fetch is not None
    arrays, card = fetch(data)
    save_prepared(data / "own", arrays, card.model_copy(update={"name": "own"}))
    overrides = ["dataset=own", "recipe.epochs=20", "seeds=[0, 1, 2]", "losses=[softmax, center]"]
    plan = check(load_suite(write_suite(), overrides), data)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    head = start_node("127.0.0.1", "--head", f"--port={port}", "--include-dashboard=false")
    hide = hiding([tmp_path, PACKAGE])
    wait(lambda: listens(port), "the head listens", head.process)
    other = start_node("127.0.0.2", f"--address={address}", first=hide)
    wait(
        lambda: "Ray runtime started" in (other.folder / "log").read_text(encoding="utf-8"),
        "two",
        other.process,
    )

    command = [*LOSSBENCH, "run", str(tmp_path / "small.yaml"), "--address", address]
    command += ["--data-root", str(data), "--tracking-uri", uri, "--checkpoint-every", "0"]
    command += [argument for value in overrides for argument in ("--set", value)]
    log = tmp_path / "log"
    with log.open("wb") as seen:
        driver = subprocess.Popen(
            command, cwd=work, env=variables() | {"COLUMNS": "300"}, stdout=seen, stderr=seen
        )
    try:
        if hide:  # without the driver's files, the result is sent through the file server
            wait(lambda: list(work.glob(".lossbench/ray/*/delivered/*")), "a result", driver)
            begun = functools.partial(other.folder.glob, f"lossbench-*/{EARLY}")
        else:
            begun = functools.partial(work.glob, f".lossbench/checkpoints/*/{EARLY}")
        wait(lambda: list(begun()), "a further trial has begun", driver)
        other.kill()
        code = driver.wait(timeout=150)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    printed = log.read_text(encoding="utf-8")
    assert code == 0, printed
    assert "its worker process died; restart 1 of" in printed
    assert "6 trials finished" in printed
    results = Tracker.open(uri).results(plan.trials)
    assert set(results) == {trial.identity for trial in plan.trials}
    assert {result.environment["code"] for result in results.values()} == {environment()["code"]}
    client = MlflowClient(uri)
    [experiment] = client.search_experiments(filter_string="name = 'small'")
    runs = client.search_runs([experiment.experiment_id], "params.seed != ''")
    assert len(runs) == 6
    if hide:
        assert list(other.folder.glob("lossbench/*/own/dataset.json"))
    found = re.search(r"(\S+): resumes after epoch", printed)
    assert found, printed
    [trial] = [trial for trial in plan.trials if trial.name == found[1]]
    alone = run_trial(trial, data_root=data, artifacts=tmp_path)
    disturbed = results[trial.identity]
    assert alone.metrics == disturbed.metrics
    assert [e.metrics for e in alone.history] == [e.metrics for e in disturbed.history]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
