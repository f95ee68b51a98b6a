"""Open a tracking store, or fail within seconds; MLflow by itself would retry for minutes."""

from __future__ import annotations

import functools
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from filelock import BaseFileLock, FileLock, Timeout

from lossbench.errors import LossbenchError, TrackingError
from lossbench.suite.atomic_files import atomic_path
from lossbench.tracking.artifacts import relocate
from lossbench.tracking.database import (
    check_database,
    check_folder,
    check_readable,
    read_only_uri,
)
from lossbench.tracking.location import Location
from lossbench.tracking.server_errors import explain, failures, one_line, with_retries

if TYPE_CHECKING:
    from mlflow import MlflowClient

for _name in ("mlflow", "alembic"):  # if MLflow was imported before this package
    logging.getLogger(_name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])

_NO_RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "4"}
_LOCK_TIMEOUT_SEC = 60.0


GetClient = Callable[[], "MlflowClient"]
"""Returns MLflow's client. MLflow takes seconds to import, so that it is only called if needed."""


class Opening:
    """A store that is open, or a database that is being created in the background.

    Args:
        connect: Makes MLflow's client.
        now: Whether to call it now, in the background; otherwise when the client is needed.
    """

    def __init__(self, connect: GetClient, *, now: bool = False) -> None:
        self._connect, self._lock = connect, threading.Lock()
        self._made: Future[MlflowClient] = Future()
        self._creates = now
        if now:
            threading.Thread(target=self._make, name="mlflow-database").start()

    @property
    def is_open(self) -> bool:
        """Whether the database is not being created."""
        return not self._creates or self._made.done()

    def wait(self) -> None:
        """Wait until the database is created.

        Raises:
            TrackingError: It cannot be created.
        """
        if self._creates:
            self._made.result()

    def client(self) -> MlflowClient:
        """MLflow's client.

        Raises:
            TrackingError: The store cannot be used.
        """
        if not self._creates:
            self._make()
        return self._made.result()

    def _make(self) -> None:
        with self._lock:
            if self._made.done():
                return
            try:
                self._made.set_result(self._connect())
            except BaseException as error:
                self._made.set_exception(error)


class _Located(Protocol):
    @property
    def location(self) -> Location: ...


_Self = TypeVar("_Self", bound=_Located)
_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")


def translate_store_errors(
    method: Callable[Concatenate[_Self, _Args], _Result],
) -> Callable[Concatenate[_Self, _Args], _Result]:
    """Convert failures of the store in a method to a TrackingError of one line."""

    @functools.wraps(method)
    def wrapper(self: _Self, /, *args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
        try:
            return method(self, *args, **kwargs)
        except LossbenchError:
            raise
        except failures() as error:
            step = method.__name__.strip("_").replace("_", " ")
            raise self.location.error(f"{step} failed: {_reason(self.location, error)}") from error

    return wrapper


def _reason(location: Location, error: Exception) -> str:
    if location.database is None:
        return explain(error, location.uri)
    text = one_line(error)
    if text == "database or disk is full":  # SQLite's message
        return f"the disk is full; make room in {location.database.parent}"
    return text


@contextmanager
def locked(location: Location) -> Iterator[None]:
    """Lock a database against other processes; a server needs no lock.

    Raises:
        TrackingError: The folder cannot be written, or the lock is held for a minute.
    """
    if location.database is None:
        yield
        return
    lock = _lock(location, location.database)
    try:
        lock.acquire()
    except Timeout:
        raise location.error(f"another process holds {lock.lock_file}; end it first") from None
    except OSError as error:
        raise _unwritable(location, location.database, error) from None
    try:
        yield
    finally:
        lock.release()


def _lock(location: Location, path: Path) -> BaseFileLock:
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=_LOCK_TIMEOUT_SEC)
    try:
        Path(lock.lock_file).touch()  # FileLock would wait silently if it cannot be written
    except OSError as error:
        raise _unwritable(location, path, error) from None
    return lock


def _unwritable(location: Location, path: Path, error: OSError) -> TrackingError:
    reason = error.strerror or type(error).__name__
    return location.error(
        f"cannot write in {path.parent} ({reason}); choose another folder with --tracking-uri"
    )


def open_store(location: Location, *, create: bool) -> Opening:
    """Open the store.

    A missing database is created in the background, which takes seconds, so that the caller can
    continue meanwhile. A database is checked without MLflow's client.

    Raises:
        TrackingError: The store cannot be used; nothing was written.
    """
    path = location.database
    if path is not None and create and not path.exists():
        check_folder(location, path)
        _lock(location, path)
        return Opening(lambda: _make(location, path), now=True)
    if path is not None:
        uri = _open_database(location, path, create=create)
        return Opening(lambda: _database_client(location, uri))
    client = _connect(location)
    return Opening(lambda: client)


def _make(location: Location, path: Path) -> MlflowClient:
    with locked(location):
        if not path.exists():
            _make_database(path)
    return _database_client(location, _open_database(location, path, create=True))


def _open_database(location: Location, path: Path, *, create: bool) -> str:
    """Check a database; return its URI for MLflow."""
    try:
        if not create:
            check_readable(location, path)
            return read_only_uri(path)
        check_folder(location, path)
        check_database(location, path, write=True)
        relocate(path)
        return location.uri
    except (OSError, sqlite3.Error) as error:
        raise location.error(one_line(error)) from error


def _database_client(location: Location, uri: str) -> MlflowClient:
    try:
        return _client(uri)
    except failures() as error:
        raise location.error(one_line(error)) from error


def _connect(location: Location) -> MlflowClient:
    """Client of a server that answers."""
    client = _client(location.uri)
    with _environment(_NO_RETRIES):
        try:
            with_retries(lambda: client.search_experiments(max_results=1))
        except failures() as error:
            raise location.error(explain(error, location.uri)) from error
    return client


def _client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    # set both URIs: MLflow has another default for the registry
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _make_database(path: Path) -> None:
    """Create the tables in a temporary file: a killed process leaves no incomplete database."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.with_name(f"{temporary.name}-journal").unlink(missing_ok=True)
    with atomic_path(path, temporary=temporary):
        _client(f"sqlite:///{temporary}").search_experiments(max_results=1)


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
