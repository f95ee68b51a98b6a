"""Location of the results: a tracking URI, checked before anything is written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lossbench.errors import TrackingError
from lossbench.errors.redaction import redacted
from lossbench.registry import user_path

DEFAULT_DATABASE = "mlflow.db"
EXPERIMENT_KIND = "mlflow.experimentKind"
"""Experiment tag that makes the dashboard show trainings instead of chat traces."""
_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Location:
    """Valid tracking URI.

    Attributes:
        uri: URI for MLflow; the path of a database is absolute.
        display_uri: URI without credentials.
        database: File of a SQLite store; None for a server.
    """

    uri: str
    display_uri: str
    database: Path | None

    def error(self, problem: str) -> TrackingError:
        return TrackingError(f"{self.display_uri}: {problem}")


def locate(uri: str | None) -> Location:
    """Resolve the tracking URI: the given one, else MLFLOW_TRACKING_URI, else `./mlflow.db`.

    MLflow's default is not used, because it depends on whether there is a folder `mlruns/`.

    Raises:
        TrackingError: lossbench cannot use the URI.
    """
    if uri is None:
        uri = os.environ.get("MLFLOW_TRACKING_URI") or _SQLITE + DEFAULT_DATABASE
    if not uri:
        raise TrackingError("--tracking-uri: is empty; omit the option to use MLFLOW_TRACKING_URI")
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
        problem = f"'{scheme}' is not a kind of tracking store that lossbench can use"
    raise TrackingError(
        f"{uri}: {problem}; "
        f"give --tracking-uri {_SQLITE}{here}, or the http(s):// address of a server"
    )


def _server(uri: str) -> Location:
    location = Location(uri.rstrip("/"), redacted(uri.rstrip("/")), None)
    parts = urlsplit(uri)
    if not parts.hostname:
        raise location.error("names no host; write it as in http://127.0.0.1:5000")
    if parts.query or parts.fragment:  # MLflow would append its own paths to them
        raise location.error(
            "has a part after '?' or '#', which MLflow cannot use; set a token as "
            "MLFLOW_TRACKING_TOKEN"
        )
    return location


def _database(uri: str) -> Location:
    written = unquote(uri.removeprefix(_SQLITE))
    if not uri.startswith(_SQLITE) or written in ("", ":memory:"):
        raise TrackingError(f"{uri}: names no file; write it as in {_SQLITE}{DEFAULT_DATABASE}")
    path = Path(os.path.abspath(user_path(written)))
    location = Location(f"{_SQLITE}{path}", f"{_SQLITE}{path}", path)
    if found := set("%?#") & set(str(path)):
        # of a quoted path, SQLAlchemy and MLflow would use different folders
        raise location.error(f"MLflow cannot use a path with '{min(found)}'; choose another one")
    return location
