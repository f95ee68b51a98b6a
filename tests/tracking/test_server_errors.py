"""Error messages for servers that are busy, deny access, or are not MLflow servers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lossbench.errors import TrackingError
from lossbench.planning.plan import Plan
from lossbench.records import TrialResult
from lossbench.tracking import server_errors
from lossbench.tracking.store import Tracker

PAGE = b"<html>hello</html>"
BUSY = "the server is busy or down ({}); try again later"
STATUSES = {
    408: BUSY.format("408, Request Timeout"),
    429: BUSY.format("429, Too Many Requests"),
    500: "the server has failed (500, Internal Server Error); see its log, or try again",
    502: BUSY.format("502, Bad Gateway"),
    503: BUSY.format("503, Service Unavailable"),
    504: BUSY.format("504, Gateway Timeout"),
    401: "the server needs credentials (401); set MLFLOW_TRACKING_USERNAME",
    403: "the server denies access (403): requests without credentials are not allowed",
    404: "answers, but not as an MLflow server (404, Not Found)",
    405: "answers, but not as an MLflow server (405, Method Not Allowed)",
    418: "answers, but not as an MLflow server (418, I'm a Teapot)",
    200: "answers, but not as an MLflow server (no JSON)",
}
NO_EXPERIMENT = (404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}')
EMPTY = (200, b"{}")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_errors, "DELAYS_SEC", (0.01, 0.01, 0.01))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


def address(fake_server: Any, user: str = "") -> str:
    return f"http://{user}127.0.0.1:{fake_server.port}"


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(TrackingError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize("create", [True, False], ids=["write", "read"])
@pytest.mark.parametrize("status", STATUSES)
def test_message_for_each_status_when_a_store_is_opened(
    status: int, create: bool, fake_server: Any
) -> None:
    fake_server.answers = [(status, PAGE)]
    message = refusal(lambda: Tracker.open(address(fake_server), create=create))
    assert STATUSES[status] in message
    tries = 4 if "busy" in message else 1
    assert len(fake_server.asked) == tries


@pytest.mark.parametrize("step", ["results", "start_suite"])
@pytest.mark.parametrize("status", STATUSES)
def test_message_for_each_status_after_opening(
    status: int, step: str, fake_server: Any, plan: Plan
) -> None:
    fake_server.answers = [EMPTY]
    tracker = Tracker.open(address(fake_server))
    fake_server.answers = [(status, PAGE)]
    if step == "results":
        message = refusal(lambda: tracker.results(plan.trials))
    else:
        message = refusal(lambda: tracker.start_suite(plan, {}))
    assert f"{step.replace('_', ' ')} failed: {STATUSES[status]}" in message


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "does not accept these credentials (401); correct MLFLOW_TRACKING_USERNAME"),
        (403, "denies access (403): these credentials are not sufficient; ask its owner"),
    ],
)
@pytest.mark.parametrize("given", ["uri", "password", "token"])
def test_message_for_insufficient_credentials(
    status: int, said: str, given: str, fake_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_server.answers = [(status, b"CREDENTIALS are wrong")]
    if given == "password":
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2-of-me")
    elif given == "token":
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hunter2-of-me")
    user = "me:hunter2-of-me@" if given == "uri" else ""
    message = refusal(lambda: Tracker.open(address(fake_server, user)))
    assert said in message
    assert "hunter2" not in message


def test_error_messages_of_mlflow_are_shown(fake_server: Any) -> None:
    body = b'{"error_code": "%s", "message": "%s"}'
    for status, code, text, said in (
        (403, b"PERMISSION_DENIED", b"no", "these credentials are not sufficient"),
        (400, b"INVALID_PARAMETER_VALUE", b"too many", "INVALID_PARAMETER_VALUE: too many"),
        (404, b"ENDPOINT_NOT_FOUND", b"no", "not as an MLflow server"),
        (503, b"TEMPORARILY_UNAVAILABLE", b"soon", "busy or down"),
    ):
        fake_server.answers = [(status, body % (code, text))]
        assert said in refusal(lambda: Tracker.open(address(fake_server, "me:pw@")))


def test_message_for_a_closed_connection(fake_server: Any) -> None:
    fake_server.answers = [None]
    message = refusal(lambda: Tracker.open(address(fake_server)))
    assert BUSY.format("it closed the connection without an answer") in message
    assert len(fake_server.asked) == 4


@pytest.mark.parametrize("fault", [(503, PAGE), (429, b""), (502, PAGE), (504, PAGE), None])
def test_requests_to_a_busy_server_are_repeated(fault: Any, fake_server: Any, plan: Plan) -> None:
    fake_server.answers = [fault, fault, EMPTY]
    reader = Tracker.open(address(fake_server), create=False)
    fake_server.answers = [*(fault, fault, NO_EXPERIMENT), *(fault, fault, EMPTY)]
    assert reader.results(plan.trials) == {}
    fake_server.answers = [fault, fault, EMPTY]
    writer = Tracker.open(address(fake_server))
    created = (200, b'{"experiment_id": "1"}')
    run = b'{"run": {"info": {"run_id": "r", "experiment_id": "1"}, "data": {}}}'
    found = b'{"runs": [{"info": {"run_id": "r", "experiment_id": "1"}, "data": {}}]}'
    fake_server.answers = [
        *(fault, fault, NO_EXPERIMENT),
        *(fault, fault, created),
        *(fault, fault, EMPTY),  # no run with this name yet
        *(fault, fault, EMPTY),  # no run of this table under another name
        *(fault, fault, (200, run)),
        *(fault, fault, (200, found)),
        (403, PAGE),
    ]
    message = refusal(lambda: writer.start_suite(plan, {}))
    assert "requests without credentials are not allowed" in message
    assert fake_server.asked[-1].endswith("/runs/log-batch")


def test_retry_after_an_hour_is_ignored(
    fake_server: Any, plan: Plan, make_result: Callable[..., TrialResult], artifacts: Path
) -> None:
    tracker = Tracker.open(address(fake_server))
    fake_server.headers["Retry-After"] = "3600"
    fake_server.answers = [(503, PAGE)]
    begin = time.monotonic()
    assert "busy or down" in refusal(lambda: Tracker.open(address(fake_server)))
    assert "busy or down" in refusal(lambda: tracker.results(plan.trials))
    trial = plan.trials[0]
    assert "busy or down" in refusal(lambda: tracker.finish(trial, make_result(trial), artifacts))
    assert time.monotonic() - begin < 30


def test_retries_end(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise OSError("timed out")

    monkeypatch.setattr(server_errors, "RETRY_LIMIT_SEC", -1.0)
    with pytest.raises(OSError, match="timed out"):
        server_errors.with_retries(fail)
    assert len(calls) == 1
