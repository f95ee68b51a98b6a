"""Error messages and retries for tracking servers."""

from __future__ import annotations

import functools
import os
import re
import sqlite3
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlsplit

from lossbench.errors.redaction import redacted

DELAYS_SEC = (0.5, 1.0, 2.0, 4.0)
"""Pauses between the attempts to reach a busy server."""
RETRY_LIMIT_SEC = 10.0
"""Time after which no further attempt is made; an attempt may last for seconds."""

_BUSY = {408, 429, 502, 503, 504}
_CONNECTION_LOST = ("Connection aborted", "RemoteDisconnected", "reset by peer", "IncompleteRead")
_STATUS = re.compile(
    r"error code (\d{3})\b|too many (\d{3}) error responses|\b(\d{3}) (?:Client|Server) Error"
)
_UNREACHABLE = {
    "refused": "the connection was refused",
    "resolve": "there is no such host",
    "unreachable": "its network cannot be reached",
    "CERTIFICATE": "its certificate is not trusted",
}
_VARIABLES = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"

_Result = TypeVar("_Result")


@functools.cache
def failures() -> tuple[type[Exception], ...]:
    """Exceptions that are raised if a store fails; called only where one has been raised."""
    from mlflow.exceptions import MlflowException  # isort: skip  # first, to be named if it is missing
    import requests
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, requests.RequestException, OSError, sqlite3.Error


def one_line(error: Exception) -> str:
    """First line of an error, without secrets, truncated to 300 characters."""
    error = getattr(error, "orig", None) or error  # the error that SQLAlchemy wraps is clearer
    text = redacted(str(error)).strip().partition("\n")[0] or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."


def with_retries(action: Callable[[], _Result]) -> _Result:
    """Call a function; retry with growing pauses while the server is busy."""
    begin = time.monotonic()
    for delay in DELAYS_SEC:
        try:
            return action()
        except failures() as error:
            if not _is_busy(error) or time.monotonic() - begin > RETRY_LIMIT_SEC:
                raise
        time.sleep(delay)
    return action()


def explain(error: Exception, uri: str) -> str:
    """Message for a failure of a server, with what the user can do.

    Args:
        error: One of `failures()`.
        uri: Address of the server.
    """
    text, status = str(error), _status_of(error)
    for sign, reason in _UNREACHABLE.items():
        if status is None and sign in text:
            return f"no MLflow server can be reached: {reason}; start it, or correct the address"
    if _is_busy(error):
        return f"the server is busy or down ({_busy_reason(error)}); try again later"
    if status == 401:
        if _has_credentials(uri):
            return f"the server does not accept these credentials (401); correct {_VARIABLES}"
        return f"the server needs credentials (401); set {_VARIABLES}"
    if status == 403:
        if _has_credentials(uri):
            reason = "these credentials are not sufficient"
        else:
            reason = "requests without credentials are not allowed"
        return (
            f"the server denies access (403): {reason}; ask its owner for access, or set "
            f"{_VARIABLES}"
        )
    if status == 500:
        return "the server has failed (500, Internal Server Error); see its log, or try again"
    from mlflow.exceptions import RestException

    # an error message of MLflow, unless the server does not have MLflow's endpoints
    if isinstance(error, RestException) and "ENDPOINT_NOT_FOUND" not in text:
        return one_line(error)
    if status is not None or "valid JSON format" in text:
        reason = f"{status}, {_phrase(status)}" if status else "no JSON"
        return f"answers, but not as an MLflow server ({reason}); correct the address"
    return one_line(error)


def _is_busy(error: Exception) -> bool:
    text = str(error)
    status = _status_of(error)
    if status is not None:
        return status in _BUSY
    return "timed out" in text or any(sign in text for sign in _CONNECTION_LOST)


def _busy_reason(error: Exception) -> str:
    status = _status_of(error)
    if status is not None:
        return f"{status}, {_phrase(status)}"
    if "timed out" in str(error):
        return "it does not answer in time"
    return "it closed the connection without an answer"


def _status_of(error: Exception) -> int | None:
    """HTTP status of the response; None without a response."""
    found = _STATUS.search(str(error))
    if found:
        return int(next(filter(None, found.groups())))
    from mlflow.exceptions import RestException

    if isinstance(error, RestException):
        return int(error.get_http_status_code())  # type: ignore[no-untyped-call]
    return None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown HTTP status"


def _has_credentials(uri: str) -> bool:
    variables = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_TOKEN")
    return bool(urlsplit(uri).username or any(os.environ.get(name) for name in variables))
