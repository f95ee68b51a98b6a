"""Open a tracking store at once or say why not; MLflow alone retries for minutes."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import requests
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from lossbench.tracking.location import Location, check_database, check_folder, check_started

for _name in ("mlflow", "alembic"):  # wherever MLflow was imported first
    logging.getLogger(_name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])

_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "4"}
_LOCK_TIMEOUT_SEC = 60.0

FAILURES = (MlflowException, SQLAlchemyError, requests.RequestException, OSError)
"""What MLflow raises where a store fails it."""


class _Located(Protocol):
    @property
    def location(self) -> Location: ...


_Self = TypeVar("_Self", bound=_Located)
_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")


def told(
    method: Callable[Concatenate[_Self, _Args], _Result],
) -> Callable[Concatenate[_Self, _Args], _Result]:
    """Turn a failure of the store inside a method into one line of TrackingError."""

    @functools.wraps(method)
    def wrapper(self: _Self, /, *args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
        try:
            return method(self, *args, **kwargs)
        except FAILURES as error:
            step = method.__name__.replace("_", " ")
            raise self.location.error(f"{step} failed: {one_line(error)}") from error

    return wrapper


def one_line(error: Exception) -> str:
    """The first line of an error, of bearable length."""
    error = getattr(error, "orig", None) or error  # what SQLAlchemy wraps says what is wrong
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."


@contextmanager
def locked(location: Location) -> Iterator[None]:
    """Keep other processes out of a database; a server does without.

    Raises:
        TrackingError: The folder cannot be written, or the lock is held for a minute.
    """
    if location.database is None:
        yield
        return
    path = location.database
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=_LOCK_TIMEOUT_SEC)
    try:
        Path(lock.lock_file).touch()  # of some folders the lock itself would not say why it waits
        lock.acquire()
    except Timeout:
        raise location.error(f"another process holds {lock.lock_file}; end it first") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise location.error(
            f"cannot write in {path.parent} ({reason}); choose another folder with --tracking-uri"
        ) from None
    try:
        yield
    finally:
        lock.release()


def connect(location: Location, *, create: bool) -> MlflowClient:
    """Open the store, and make the database where there is none.

    Raises:
        TrackingError: It cannot be used; within seconds, and nothing was written.
    """
    if location.database is not None:
        if create:
            _ensure(location, location.database)
        else:
            check_started(location, location.database)
        try:
            return _client(location.uri)
        except FAILURES as error:
            raise location.error(one_line(error)) from error
    with _environment(_IMPATIENT):
        try:
            client = _client(location.uri)
            client.search_experiments(max_results=1)
        except FAILURES as error:
            raise location.error(_why(error)) from error
    return client


def _client(uri: str) -> MlflowClient:
    # both named, or the registry's comes from MLflow's own default
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _ensure(location: Location, path: Path) -> None:
    check_folder(location, path)
    if not path.exists():  # what is there is checked without leaving a lock beside it
        with locked(location):
            if not path.exists():
                _make_database(path)
    check_database(location, path, write=True)


def _make_database(path: Path) -> None:
    """Make the tables in a file of another name: whoever is killed meanwhile breaks nothing."""
    unfinished = path.with_name(f".{path.name}.new")
    for leftover in (unfinished, unfinished.with_name(f"{unfinished.name}-journal")):
        leftover.unlink(missing_ok=True)
    _client(f"sqlite:///{unfinished}").search_experiments(max_results=1)
    unfinished.replace(path)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def _why(error: Exception) -> str:
    """Say what a server's silence or answer means."""
    text = str(error)
    for sign, reason in {
        "refused": "the connection was refused",
        "timed out": "it does not answer in time",
        "resolve": "there is no such host",
        "unreachable": "its network cannot be reached",
        "CERTIFICATE": "its certificate is not trusted",
    }.items():
        if sign in text:
            return f"no MLflow server can be reached: {reason}; start it, or correct the address"
    if re.search(r"\b(401|403)\b", text):
        return (
            "the server lets nobody in without a password; set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    return f"answers, but not as an MLflow server ({one_line(error)[:120]}); correct the address"
