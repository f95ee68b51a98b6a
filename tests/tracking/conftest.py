"""A small suite, synthetic results of trials, and a real MLflow server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from lossbench.planning.plan import Plan
from lossbench.planning.rows import make_rows
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.suite.schema import Suite
from tests.synthetic_measurements import measurements_of

SUITE = {
    "suite": "demo",
    "title": "A demonstration",
    "dataset": {"name": "digits", "train_size": 100},
    "model": {"name": "mlp", "width": 8},
    "recipe": {
        "epochs": 3,
        "batch_size": 32,
        "optimizer": {"name": "sgd", "lr": 0.1},
        "schedule": {"name": "multistep", "milestones": [1, 2]},
    },
    "variants": {"2-D": {}, "C100+": {"augment": ["mirror", {"random_crop": {"padding": 4}}]}},
    "losses": ["softmax", {"lgm": {"alpha": 0.1}}, {"lgm": {"alpha": 0.3}}],
    "seeds": [0, 1],
}


@pytest.fixture(autouse=True)
def _no_ambient_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def make_plan() -> Callable[..., Plan]:
    def make(**changes: object) -> Plan:
        suite = Suite.model_validate({**SUITE, **changes})
        return Plan(suite, make_rows(suite.losses, suite), table_digest="d1", metrics=())

    return make


@pytest.fixture
def plan(make_plan: Callable[..., Plan]) -> Plan:
    return make_plan()


@pytest.fixture(scope="session")
def make_result() -> Callable[..., TrialResult]:
    def make(trial: Trial, **changes: object) -> TrialResult:
        history = tuple(
            EpochRecord(
                epoch=epoch,
                timestamp_ms=1_700_000_000_000 + 1000 * epoch,
                metrics={"train_loss": 0.1 / 3 / epoch, "test_error": 100 / 3 / epoch},
            )
            for epoch in (1, 2, 3)
        )
        values: dict[str, Any] = {
            "identity": trial.identity,
            "status": "finished",
            "metrics": {"error": 100 / 7 + trial.seed},
            "history": history,
            "wall_time_sec": 1.5,
            "peak_memory_mib": 200.0,
            "device": "cpu",
            "environment": {"torch": "2.13.0"},
            **changes,
        }
        if values["status"] == "finished":
            measured = measurements_of(trial, values["metrics"])
            values = {"measurements": measured, "weights_digest": trial.identity, **values}
        return TrialResult(**values)

    return make


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri, registry_uri=uri)


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = tmp_path / "made by the trial"
    folder.mkdir()
    np.savez(folder / "predictions.npz", labels=np.arange(6), correct=np.eye(2, dtype=bool))
    (folder / "weights.pt").write_bytes(b"weights")
    return folder


@pytest.fixture
def fresh_uri(tmp_path: Path) -> str:
    """URI of a database that does not exist yet."""
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


Answer = tuple[int, bytes] | None
"""Status and body; None closes the connection."""


class FakeServer:
    """HTTP server on 127.0.0.1 with scripted answers; the last one is repeated.

    Attributes:
        answers: Answers to the next requests.
        asked: Paths that were asked for.
        headers: Headers of every answer.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = [(200, b"{}")]
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answers = outer.answers
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if answer is None:
                    self.close_connection = True
                    return
                status, body = answer
                # a proxy in debug mode repeats the request
                body = body.replace(b"CREDENTIALS", str(self.headers["Authorization"]).encode())
                self.send_response(status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PATCH = do_PUT = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def fake_server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(1800):  # of a busy machine
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "the server did not start"
                time.sleep(0.1)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)
