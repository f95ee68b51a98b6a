"""Where results are kept: a tracking URI, checked before anything is written to it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lossbench.errors import NothingRecordedError, TrackingError

DEFAULT_DATABASE = "mlflow.db"
EXPERIMENT_KIND = "mlflow.experimentKind"
"""Experiment tag by which the dashboard shows trainings, not the traces of chats."""
_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Location:
    """A tracking URI that can be used.

    Attributes:
        uri: What MLflow is given; the path of a database is absolute in it.
        shown: The same without a password.
        database: The file of a sqlite store; None for a server.
    """

    uri: str
    shown: str
    database: Path | None

    def error(self, problem: str) -> TrackingError:
        return TrackingError(f"{self.shown}: {problem}")


def locate(uri: str | None) -> Location:
    """Settle the tracking URI: the given one, else MLFLOW_TRACKING_URI, else `./mlflow.db`.

    The store is never left to MLflow's own default, which a leftover `mlruns/` folder changes.

    Raises:
        TrackingError: It is no URI that lossbench can use.
    """
    if uri is None:
        uri = os.environ.get("MLFLOW_TRACKING_URI") or _SQLITE + DEFAULT_DATABASE
    if not uri:
        raise TrackingError("--tracking-uri: is empty; leave it away for MLFLOW_TRACKING_URI")
    try:
        scheme = urlsplit(uri).scheme
    except ValueError as error:
        raise TrackingError(f"{uri}: {error}; give another --tracking-uri") from None
    if scheme in ("http", "https"):
        return _server(uri)
    if scheme == "sqlite":
        return _database(uri)
    here = Path.cwd() / DEFAULT_DATABASE
    if scheme in ("", "file"):
        problem = "MLflow no longer writes to plain folders"
    else:
        problem = f"'{scheme}' is no kind of tracking store that lossbench can use"
    raise TrackingError(
        f"{_without_password(uri)}: {problem}; "
        f"give --tracking-uri {_SQLITE}{here}, or the http(s):// address of a server"
    )


def _server(uri: str) -> Location:
    location = Location(uri.rstrip("/"), _without_password(uri.rstrip("/")), None)
    if not urlsplit(uri).hostname:
        raise location.error("names no host; write it as in http://127.0.0.1:5000")
    return location


def _database(uri: str) -> Location:
    written = unquote(uri.removeprefix(_SQLITE))
    if not uri.startswith(_SQLITE) or written in ("", ":memory:"):
        raise TrackingError(f"{uri}: names no file; write it as in {_SQLITE}{DEFAULT_DATABASE}")
    path = Path(os.path.abspath(Path(written).expanduser()))
    location = Location(f"{_SQLITE}{path}", f"{_SQLITE}{path}", path)
    if found := set("%?#") & set(str(path)):
        # quoted, SQLAlchemy would open one path and MLflow create the folders of another
        raise location.error(f"MLflow cannot use a path with '{min(found)}'; choose another one")
    return location


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    return parts._replace(netloc=f"***@{parts.netloc.rpartition('@')[2]}").geturl()


def check_folder(location: Location, path: Path) -> None:
    if not path.parent.is_dir():
        raise location.error(f"there is no folder {path.parent}; create it first")


def check_started(location: Location, path: Path) -> None:
    """Make sure that there is a database to read.

    Raises:
        NothingRecordedError: There is none.
        TrackingError: It cannot be read.
    """
    check_folder(location, path)
    if not path.exists():
        raise NothingRecordedError(
            f"{location.shown}: nothing has been run here yet; start with 'lossbench run SUITE'"
        )
    check_database(location, path, write=False)


def check_database(location: Location, path: Path, *, write: bool) -> None:
    """Make sure that a file is MLflow's database, and can be read or written.

    MLflow itself tries for 100 seconds to open a file that it cannot, and adds its tables to any
    database that it can.

    Raises:
        TrackingError: It is not, or cannot.
    """
    if path.is_dir():
        raise location.error("is a folder; name a file in it, as in .../mlflow.db")
    try:
        mode = "rw" if write else "ro"
        with closing(sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=10)) as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
            if write:
                db.execute("BEGIN IMMEDIATE").execute("ROLLBACK")
    except sqlite3.Error as error:
        raise location.error(
            f"{error}; make it a file that you may {'write' if write else 'read'}, "
            "or choose another one with --tracking-uri"
        ) from None
    if not {"alembic_version", "experiments"} <= tables:
        raise location.error(
            "is a database, but not MLflow's; choose another file with --tracking-uri"
        )
