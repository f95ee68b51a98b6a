"""MLflow's dashboard, run in the foreground."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from lossbench.errors import TrackingError
from lossbench.tracking import names
from lossbench.tracking.artifacts import artifact_root, relocate
from lossbench.tracking.database import check_readable
from lossbench.tracking.location import EXPERIMENT_KIND, Location, locate
from lossbench.tracking.views import CHARTS, view_query, view_tag

_HOST = "127.0.0.1"
_API = "api/2.0/mlflow"
# with an order by a metric, MLflow does not collapse the trials below their table
_SIDE_BY_SIDE = f"{CHARTS}&orderByKey=metrics.%60error%60&orderByAsc=true"
_START_TIMEOUT_SEC = 120.0
_STOP_TIMEOUT_SEC = 5.0


def serve(uri: str | None, port: int) -> int:
    """Run the dashboard until Ctrl-C or a signal to stop; for a server, print its address.

    Args:
        uri: Tracking URI, as in `Tracker.open`.
        port: Port on 127.0.0.1.

    Returns:
        Exit code 0.

    Raises:
        TrackingError: There is nothing to show, the port is taken, or MLflow does not start.
    """
    location = locate(uri)
    if location.database is None:
        print(f"The dashboard is at {location.display_uri}")
        return 0
    check_readable(location, location.database)
    _check_port(port)
    _relocate(location.database)
    with tempfile.TemporaryFile() as log:
        server = _start(location, location.database, port, log)
        try:
            _wait_until_it_answers(server, port, log)
            print(f"The dashboard is at http://{_HOST}:{port} (Ctrl-C stops it)")
            for title, address in _pages(port):
                print(f"  {title}: {address}")
            sys.stdout.flush()
            server.wait()
            raise TrackingError(f"MLflow's server has stopped: {_last_line(log)}")
        except KeyboardInterrupt:
            return 0
        finally:
            _stop(server)


def _relocate(database: Path) -> None:
    """Update the artifact paths of a database that was moved."""
    try:
        relocate(database)
    except sqlite3.Error as error:
        print(
            f"{database} cannot be written ({error}): the dashboard finds the files of runs only "
            "in their original folder",
            file=sys.stderr,
        )


def _check_port(port: int) -> None:
    """Refuse a used port: otherwise the other server would answer."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "it is not a port number"
            raise TrackingError(
                f"port {port} cannot be used ({reason}); choose another one with --port"
            ) from None


def _start(
    location: Location, database: Path, port: int, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--backend-store-uri", location.uri]
    # artifacts are read in place; nothing is uploaded through the dashboard
    command += [
        "--default-artifact-root",
        str(artifact_root(database)),
        "--no-serve-artifacts",
    ]
    command += ["--host", _HOST, "--port", str(port), "--workers", "1"]
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 4.5 s and 0.5 GB, not 19 s and 2.2 GB
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
    }
    return subprocess.Popen(
        command,
        cwd=database.parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C is sent to this process only, which stops the server
    )


def _wait_until_it_answers(server: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_SEC
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise TrackingError(f"MLflow's server did not start: {_last_line(log)}")
        try:
            _open(f"http://{_HOST}:{port}/health")
            return
        except OSError:  # including urllib's errors
            time.sleep(0.1)
    raise TrackingError(f"MLflow's server does not answer on port {port}: {_last_line(log)}")


def _open(address: str, request: Mapping[str, object] | None = None) -> bytes:
    """Answer of MLflow's server."""
    body = None if request is None else json.dumps(request).encode()
    asked = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    # without a proxy, which could not reach this machine's 127.0.0.1
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(asked, timeout=10) as answer:
        content: bytes = answer.read()
    return content


def _pages(port: int) -> Iterator[tuple[str, str]]:
    """Title and address of the pages of each suite: its tables and their trials."""
    server = f"http://{_HOST}:{port}"
    answer = json.loads(_open(f"{server}/{_API}/experiments/search?max_results=100"))
    for experiment in answer.get("experiments", []):
        tags = {tag["key"] for tag in experiment.get("tags", [])}
        if EXPERIMENT_KIND not in tags:
            continue
        key = experiment["experiment_id"]
        page, tables = f"{server}/#/experiments/{key}/runs", _tables(server, key)
        for label, run in tables:
            yield f"{label}, table", f"{page}/{run}?workflowType=machine_learning"
            if view_tag(label) in tags:
                yield f"{label}, charts", f"{page}?{view_query(label)}"
        if not tables:  # they are shown by `lossbench run` after a report
            yield experiment["name"], f"{page}?{_SIDE_BY_SIDE}"


def _tables(server: str, experiment: str) -> list[tuple[str, str]]:
    """Label and run of each table with a report, by label."""
    condition = f"tags.`{names.KIND}` = 'table'"
    request = {"experiment_ids": [experiment], "filter": condition, "max_results": 1000}
    found = []
    answer = json.loads(_open(f"{server}/{_API}/runs/search", request))
    for run in answer.get("runs", []):
        tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
        if names.REPORTED in tags and names.EARLIER not in tags:
            found.append((tags[names.LABEL], run["info"]["run_id"]))
    return sorted(found)


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Stop the server and its workers; a second Ctrl-C meanwhile has no effect."""
    before = None
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for kind in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(server.pid, kind)
                server.wait(_STOP_TIMEOUT_SEC)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)
