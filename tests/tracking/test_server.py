"""The tracker through a real server, and the dashboard."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from mlflow import MlflowClient

from lossbench.errors import TrackingError
from lossbench.planning.plan import Plan
from lossbench.records import TrialResult
from lossbench.tracking.store import Tracker
from lossbench.tracking.ui import serve
from tests.tracking.reported import Store, names_of, small
from tests.tracking.started import run_id_of

pytestmark = pytest.mark.long


def test_a_result_is_unchanged_through_a_server(
    server: str,
    plan: Plan,
    make_result: Callable[..., TrialResult],
    artifacts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    tracker = Tracker.open(server)
    tracker.start_suite(plan, {"python": "3.11"})
    first, broken, stopped = plan.trials[:3]
    expected = make_result(first)
    tracker.begin(first)
    tracker.log_epochs(first, expected.history)
    tracker.finish(first, expected, artifacts)
    tracker.stop(stopped, "FAILED", "out of memory")
    # finished, but its result got lost
    tracker.begin(broken)
    client = MlflowClient(server, registry_uri=server)
    client.set_terminated(run_id_of(client, broken))
    tracker.finish_suite("FAILED")

    reader = Tracker.open(server, create=False)
    assert reader.results(plan.trials) == {first.identity: expected}
    [warning] = caplog.records
    assert f"result.json of {broken.row}" in warning.getMessage()
    arrays = reader.arrays(first.identity, "predictions")
    assert arrays is not None
    np.testing.assert_array_equal(arrays["labels"], np.arange(6))
    assert reader.arrays(first.identity, "absent") is None
    assert list(elsewhere.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_table_is_shown_through_a_server(
    server: str,
    make_plan: Callable[..., Plan],
    make_result: Callable[..., TrialResult],
    tmp_path: Path,
) -> None:
    store = Store(server, make_result, tmp_path)
    plan = small(make_plan, suite="shown", seeds=[7, 8])
    first = store.run(plan)
    (tmp_path / "report" / "figures" / "curves.svg").unlink()
    shorter = small(make_plan, suite="shown", seeds=[7, 8], losses=["softmax"])
    second = store.run(shorter, verdicts={})
    assert second.info.run_id == first.info.run_id
    assert not [key for key in second.data.tags if key.startswith("verdict/")]
    assert store.files(second, "report") - {"report/figures"} == {"report/report.html"}
    assert store.files(second, "report/figures") == set()
    assert store.children(second) == store.members(shorter) == names_of(shorter)


def test_for_a_server_its_address_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert serve("http://me:secret@host:5000", 5000) == 0
    assert capsys.readouterr().out == "The dashboard is at http://***@host:5000\n"


def test_the_dashboard_needs_a_database(fresh_uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="nothing has been run here yet"):
        serve(fresh_uri, 5000)
    assert list(tmp_path.iterdir()) == []


def test_a_used_port_is_refused(uri: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TrackingError, match=f"port {port} .* --port"):
            serve(uri, port)
    with pytest.raises(TrackingError, match=r"port 70000 .* --port"):
        serve(uri, 70000)


# the test runner may ignore SIGINT, as shells do for background processes
DASHBOARD = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from lossbench.cli.main import main
main()
"""
FAKE_MLFLOW = """
import sys
if sys.orig_argv[1:4] == ["-m", "mlflow", "server"]:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

    port = int(sys.orig_argv[sys.orig_argv.index("--port") + 1])
    HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
"""`sitecustomize.py` that replaces MLflow's server, which takes seconds to start."""


@contextmanager
def dashboard(uri: str, port: int) -> Iterator[subprocess.Popen[str]]:
    """`lossbench ui`, when its page can be opened."""
    process = subprocess.Popen(
        [sys.executable, "-c", DASHBOARD, "ui", "--tracking-uri", uri, "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port} " in process.stdout.readline()
        yield process
    finally:
        process.kill()


def require_clean_end(process: subprocess.Popen[str], ending: signal.Signals) -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(ending)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert not [child for child in children if child.is_running()]


def test_the_dashboard_shows_the_runs_and_stops_cleanly(
    uri: str,
    plan: Plan,
    make_plan: Callable[..., Plan],
    make_result: Callable[..., TrialResult],
    artifacts: Path,
    free_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    trial, port = plan.trials[0], free_port()
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    shutil.move(uri.removeprefix("sqlite:///"), old)
    tracker = Tracker.open(f"sqlite:///{old}/mlflow.db")
    tracker.start_suite(plan, {})
    tracker.finish(trial, make_result(trial), artifacts)
    table = Store(tracker.location.uri, make_result, tmp_path).run(small(make_plan, suite="shown"))
    old.rename(new)  # the dashboard finds the files in their new place
    uri = f"sqlite:///{new}/mlflow.db"
    with dashboard(uri, port) as process:
        assert process.stdout is not None
        page = f"http://127.0.0.1:{port}/#/experiments"
        lines = sorted(process.stdout.readline().strip() for _ in range(3))
        assert lines[0].startswith(f"demo: {page}/")  # without a report
        assert lines[1].startswith(f"shown, charts: {page}/")
        assert "viewStateShareKey=shown&" in lines[1]
        runs = f"{page}/{table.info.experiment_id}/runs"
        assert lines[2].startswith(f"shown, table: {runs}/{table.info.run_id}?")
        run_id = run_id_of(MlflowClient(uri, registry_uri=uri), trial)
        address = f"http://127.0.0.1:{port}/get-artifact?path=result.json&run_uuid={run_id}"
        with urllib.request.urlopen(address) as answer:
            assert json.load(answer)["identity"] == trial.identity
        require_clean_end(process, signal.SIGINT)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_stop_the_dashboard_cleanly(
    uri: str,
    plan: Plan,
    free_port: Callable[[], int],
    ending: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FAKE_MLFLOW, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    Tracker.open(uri).start_suite(plan, {})
    with dashboard(uri, free_port()) as process:
        require_clean_end(process, ending)
