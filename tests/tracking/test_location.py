"""Opening a store: valid and invalid URIs, and files that are written."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from lossbench.errors import TrackingError
from lossbench.planning.plan import Plan
from lossbench.tracking.location import locate
from lossbench.tracking.store import Tracker

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


def refusal(uri: str | None, *, create: bool = True) -> str:
    with pytest.raises(TrackingError) as caught:
        Tracker.open(uri, create=create)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_default_is_mlflow_db_even_next_to_mlruns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan
) -> None:
    experiment = tmp_path / "mlruns" / "0"
    experiment.mkdir(parents=True)  # turns MLflow's own default back to the file store
    (experiment / "meta.yaml").write_text("experiment_id: '0'\nname: Default\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    tracker = Tracker.open(None)
    assert tracker.location.uri == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir("/")
    tracker.start_suite(plan, {})
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert left == {"mlflow.db", "mlartifacts", "mlruns"}
    assert [path.name for path in experiment.iterdir()] == ["meta.yaml"]


def test_precedence_of_tracking_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere:5000/")
    assert locate(None).uri == "http://somewhere:5000"
    assert locate("sqlite:///sub/../a%20b.db").uri == f"sqlite:///{tmp_path}/a b.db"
    assert locate("http://me:secret@host:5000").display_uri == "http://***@host:5000"
    assert locate("http://me:secret@host:5000").uri == "http://me:secret@host:5000"


def test_a_path_with_spaces_is_accepted(tmp_path: Path, plan: Plan) -> None:
    folder = tmp_path / "my results"
    folder.mkdir()
    Tracker.open(f"sqlite:///{folder}/mlflow.db").start_suite(plan, {})
    assert list(folder.glob("mlartifacts/demo/*/artifacts/suite.yaml"))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("mlruns", "plain folders"),
        ("file:///tmp/mlruns", "plain folders"),
        ("ftp://host/db", "'ftp' is not a kind"),
        ("http://", "names no host"),
        ("http://[broken", "--tracking-uri"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///{tmp}/100%25/mlflow.db", "path with '%'"),
        ("sqlite:///{tmp}/absent/mlflow.db", "no folder {tmp}/absent"),
        ("sqlite:///{tmp}/text/mlflow.db", "no folder {tmp}/text"),
        ("sqlite:///{tmp}", "is a folder"),
        ("sqlite:///{tmp}/text", "file is not a database"),
        ("sqlite:///{tmp}/other.db", "not MLflow's"),
        ("sqlite:////proc/mlflow.db", "cannot write in /proc"),
    ],
)
def test_an_unusable_uri_is_refused_within_seconds(tmp_path: Path, uri: str, said: str) -> None:
    (tmp_path / "text").write_text(
        "This is no database, but a text of some length.\n" * 50, encoding="utf-8"
    )
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE mine (x)")
    before = {path: path.stat().st_size for path in tmp_path.iterdir()}
    begin = time.monotonic()
    assert said.format(tmp=tmp_path) in refusal(uri.format(tmp=tmp_path))
    assert time.monotonic() - begin < 5
    after = {p: p.stat().st_size for p in tmp_path.iterdir() if not p.name.endswith(".lock")}
    assert after == before


def test_reading_without_a_database_creates_nothing(tmp_path: Path) -> None:
    message = refusal(f"sqlite:///{tmp_path}/mlflow.db", create=False)
    assert "nothing has been run here yet" in message
    assert list(tmp_path.iterdir()) == []


def test_message_for_an_unreachable_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    uri = f"http://me:secret@127.0.0.1:{free_port()}"
    retries = os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    begin = time.monotonic()
    message = refusal(uri)
    assert time.monotonic() - begin < 8
    assert "the connection was refused" in message
    assert "secret" not in message
    assert list(tmp_path.iterdir()) == []
    # the short timeout of the opening is no longer set
    assert os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES") == retries
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"


@pytest.mark.slow  # waits for retries
def test_message_for_a_server_without_a_response() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begin = time.monotonic()
        message = refusal(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert "busy or down (it does not answer in time); try again later" in message
    assert time.monotonic() - begin < 25


@pytest.mark.parametrize(
    ("status", "said"), [(200, "not as an MLflow server"), (401, "MLFLOW_TRACKING_USERNAME")]
)
def test_message_for_a_server_other_than_mlflow(status: int, said: str) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        try:
            assert said in refusal(f"http://127.0.0.1:{other.server_port}")
        finally:
            other.shutdown()


def test_several_processes_create_one_database(fresh_uri: str, tmp_path: Path) -> None:
    (tmp_path / ".mlflow.db.new").write_bytes(b"left by somebody who was killed")
    script = """
import sys
from tests.tracking.conftest import SUITE
from lossbench.planning.plan import Plan
from lossbench.planning.rows import make_rows
from lossbench.suite.schema import Suite
from lossbench.tracking.store import Tracker
suite = Suite.model_validate(SUITE)
plan = Plan(suite, make_rows(suite.losses, suite), "d1", ())
tracker = Tracker.open(sys.argv[1])
tracker.start_suite(plan, {})
for trial in plan.trials[:3]:
    tracker.begin(trial)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, fresh_uri],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert said == ["", ""]
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        runs = database.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone()
    assert runs == (4,)  # the table and three trials, each once
