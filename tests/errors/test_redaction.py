from __future__ import annotations

import io
import sys

import pytest

from lossbench.errors.redaction import RedactedStream, holds_secret, redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:pw@host:5000/x", "http://***@host:5000/x"),
        ("HTTPS://me:pw@host", "HTTPS://***@host"),
        ("postgresql+psycopg2://me:pw@h/db", "postgresql+psycopg2://***@h/db"),
        ("mysql://root@h", "mysql://***@h"),
        ("s3://key:pw@bucket/x", "s3://***@bucket/x"),
        ("http://me:p@w@host", "http://***@host"),
        ("http://me:p/w?x#y@host", "http://***@host"),
        ("http://me:%20p%40w@h", "http://***@h"),
        ("http://me:it's@h", "http://***@h"),
        ("http%3A%2F%2Fme%3Apw%40host%2Fx", "http%3A%2F%2F***%40host%2Fx"),
        ("two: http://a:b@c and ftp://d:e@f", "two: http://***@c and ftp://***@f"),
        ("http://host/?x=1&token=pw&y=2", "http://host/?x=1&token=***&y=2"),
        ("http://host?token=pw: no such host", "http://host?token=***: no such host"),
        ("--set a.password=pw: unknown key", "--set a.password=***: unknown key"),
        ("http://host/?password=pw", "http://host/?password=***"),
        ("https://h/x?X-Amz-Signature=pw&sig=pw", "https://h/x?X-Amz-Signature=***&sig=***"),
        ("Max retries with url: /a?api_key=pw (x)", "Max retries with url: /a?api_key=*** (x)"),
        ("?redirect=http%3A%2F%2Fh%3Ftoken%3Dpw%26x", "?redirect=http%3A%2F%2Fh%3Ftoken%3D***%26x"),
        ("AWS_SECRET_ACCESS_KEY=pw/x+y", "AWS_SECRET_ACCESS_KEY=***"),
        ("host=h password=pw user=me", "host=h password=*** user=me"),
        ('{"password": "pw", "x": 1}', '{"password": "***", "x": 1}'),
        ("Authorization: Basic bWU6cHc=", "Authorization: Basic ***"),
        ("value: 'Bearer abcdefgh12345\\n'", "value: 'Bearer ***\\n'"),
    ],
)
def test_credentials_are_redacted(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert redacted(shown) == shown
    assert holds_secret(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://host:5000/a@b",
        "http://[::1]:5000/x@y",
        "mail me@example.org at http://host:80",
        "class_token=true num_token=4 tokens=abc token_dim=300",
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as there",
        "sqlite:////home/me/mlflow.db: there is no folder",
        "2-D/lgm(alpha=0.3, lambda=0.1): 3.1 % ± 0.2",
    ],
)
def test_other_text_is_unchanged(text: str) -> None:
    assert redacted(text) == text
    assert not holds_secret(text)


@pytest.mark.parametrize(
    "name",
    [
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "RAY_AUTH_TOKEN",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "OTHER_API_KEY",
    ],
)
def test_secrets_of_the_environment_are_redacted_anywhere(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "hunter2/x+y\n")
    assert redacted("header value: 'Xhunter2/x+y\n'") == "header value: 'X***\n'"
    assert redacted("quoted hunter2%2Fx%2By") == "quoted ***"


def test_other_environment_variables_are_not_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWD", "/home/me")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "parallel")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/home/me/token")
    monkeypatch.setenv("SHORT_TOKEN", "a")
    text = "/home/me/token parallel a"
    assert redacted(text) == text


@pytest.mark.parametrize("place", ["argument", "environment"])
def test_passwords_of_uris_are_redacted_anywhere(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "http://me:my%20pass/w@rd@host"
    monkeypatch.setattr(sys, "argv", ["lossbench", "report", "a.yaml"])
    if place == "argument":
        monkeypatch.setattr(sys, "argv", [*sys.argv, f"--tracking-uri={uri}"])
    else:
        monkeypatch.setenv("HTTPS_PROXY", uri)
    assert redacted("login with my pass/w@rd failed") == "login with *** failed"
    assert redacted("login with my%20pass/w@rd failed") == "login with *** failed"


def test_redacted_stream_writes_no_secrets() -> None:
    target = io.StringIO()
    stream = RedactedStream(target)
    print("see http://me:pw@host", file=stream)
    assert target.getvalue() == "see http://***@host\n"
    assert not stream.isatty()
