"""No password of a server is printed or written, for any response of the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from lossbench.cli.common import load_plan
from lossbench.records import TrialResult
from lossbench.tracking.store import Tracker

PASSWORD = "hunter2-of-me"
ENCODED = "aHVudGVyMi1vZi1tZQ"
"""Part of the password as encoded in a header."""
VERBS = (
    ("plan", "small.yaml"),
    ("report", "small.yaml"),
    ("check", "small.yaml", "--update"),
    ("rank", "small.yaml"),
    ("run", "small.yaml"),
)
Run = Callable[..., tuple[int, str, str]]


def left_over(folder: Path) -> str:
    """Names and contents of all files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "".join(f"{path}\n{path.read_bytes().decode(errors='replace')}\n" for path in files)


def require_clean(*texts: str) -> None:
    for text in texts:
        assert PASSWORD not in text
        assert ENCODED not in text
        assert "Traceback" not in text


@pytest.mark.parametrize(
    "answer",
    [
        (503, b"<html>busy: CREDENTIALS</html>"),
        (401, b"who is that? CREDENTIALS"),
        (403, b"Permission denied, Authorization: CREDENTIALS"),
        (404, b"<html>nothing here</html>"),
        (200, b"<html>welcome, Authorization: CREDENTIALS</html>"),
        (400, b'{"error_code": "BAD_REQUEST", "message": "Authorization: CREDENTIALS"}'),
        None,
    ],
    ids=lambda answer: str(answer and answer[0]),
)
def test_secrets_are_redacted_if_the_server_refuses(
    answer: Any,
    fake_server: Any,
    run: Run,
    write_suite: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("lossbench.tracking.server_errors.DELAYS_SEC", (0.01,))
    fake_server.answers = [answer]
    suite = write_suite()
    uri = f"http://me:{PASSWORD}@127.0.0.1:{fake_server.port}"
    for verb, _, *rest in VERBS:
        code, out, err = run(verb, suite, *rest, "--tracking-uri", uri)
        assert code == 2, err
        assert err.startswith(f"error: http://***@127.0.0.1:{fake_server.port}: ")
        require_clean(out, err)
    require_clean(left_over(tmp_path), caplog.text)


def test_secret_in_a_misplaced_option_is_redacted(
    run: Run, write_suite: Callable[..., Path]
) -> None:
    uri = f"http://me:{PASSWORD}@127.0.0.1:9"
    for arguments in (("plan", write_suite(), uri), ("list", uri), ("report", uri)):
        code, out, err = run(*arguments)
        assert code == 2
        assert "***@127.0.0.1:9" in err
        require_clean(out, err)


def test_traceback_is_redacted(
    run: Run, write_suite: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError(f"http://me:{PASSWORD}@host")

    monkeypatch.setattr("lossbench.cli.local_status.load_status", fail)
    code, _, err = run("plan", write_suite())
    assert code == 1
    assert "Traceback" in err
    assert "KeyError: 'http://***@host'" in err
    assert PASSWORD not in err


def test_a_report_does_not_contain_the_password_of_the_server(
    server: str,
    run: Run,
    write_suite: Callable[..., Path],
    make_result: Callable[..., TrialResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite = write_suite()
    uri = server.replace("://", f"://me:{PASSWORD}@")
    plan = load_plan(suite, [], None, None, Path("data"), [])
    empty = tmp_path / "empty"
    empty.mkdir()
    tracker = Tracker.open(uri)
    tracker.start_suite(plan, {})
    tracker.stop(plan.trials[0], "FAILED", f"OSError: {uri} does not answer")
    for trial in plan.trials:
        tracker.finish(trial, make_result(trial), empty)

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", f"{PASSWORD}-token")
    said = ""
    for verb, _, *rest in VERBS:
        code, out, err = run(verb, suite, *rest, f"--tracking-uri={uri}")
        assert code == 0, err
        said += out + err
    assert "small" in said
    require_clean(said, left_over(tmp_path))
    page = (tmp_path / "folder" / "reports" / "small" / "report.html").read_text(encoding="utf-8")
    assert "--tracking-uri=http://***@127.0.0.1" in page

    client = MlflowClient(uri, registry_uri=uri)
    [experiment] = [e for e in client.search_experiments() if e.name == "small"]
    for found in client.search_runs([experiment.experiment_id]):
        require_clean(str(found.to_dictionary()))


@pytest.mark.parametrize(
    ("edit", "key"),
    [
        ('title: "see http://me:hunter2@wiki"', "title"),
        ('title: "see http://wiki/?token=hunter2"', "title"),
        ("model: {name: digits_cnn, password: hunter2-of-me}", "model.password"),
    ],
)
def test_a_password_in_a_suite_is_redacted(
    edit: str, key: str, run: Run, write_suite: Callable[..., Path]
) -> None:
    old = "model: {name: digits_cnn, feature_dim: 2}"
    suite = write_suite((old, edit if edit.startswith("model") else f"{edit}\n{old}"))
    code, _, err = run("plan", suite)
    assert code == 2
    assert f"{key}: looks like a password or token" in err
    assert "hunter2" not in err
    code, _, err = run("plan", write_suite(), "--set", "title=http://me:hunter2@wiki")
    assert code == 2
    assert "title: looks like a password or token" in err
    assert "hunter2" not in err
