"""Tracking URIs that cannot be used."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.malformed.corpus import Case


def uri(
    name: str, given: str, *expected: str, edit: Callable[[Path], object] = lambda _: None
) -> Case:
    def make(folder: Path) -> list[str]:
        edit(folder)
        return ["run", "bad.yaml", "--tracking-uri", given]

    return Case(name, make, expected)


def _someone_elses(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "other.db")) as database:
        database.execute("CREATE TABLE accounts (id INTEGER)")
        database.commit()


def _garbage(folder: Path) -> None:
    (folder / "other.db").write_bytes(b"not a database, but long enough to look at it twice" * 50)


TRACKING = [
    uri("a folder by file", "file:///tmp/mlruns", "MLflow no longer writes to plain folders; give --tracking-uri sqlite:///"),
    uri("a folder by path", "./mlruns", "MLflow no longer writes to plain folders"),
    uri("an unknown scheme", "ftp://host/x", "'ftp' is not a kind of tracking store that lossbench can use"),
    uri("another database", "postgresql://me:secret@host/x", "***@host", "'postgresql' is not a kind of tracking store"),
    uri("a token in a query", "http://host?token=hunter2", "http://host?token=***: has a part after '?' or '#'", "MLFLOW_TRACKING_TOKEN"),
    uri("a token in a database's query", "sqlite:///mlflow.db?password=hunter2", "password=***", "MLflow cannot use a path with '?'"),
    uri("a password with a slash", "http://me:hunter2/x@host", "http://***@host"),
    Case("a password in a suite", lambda _: ["run", "bad.yaml", "--set", "title=http://me:hunter2@host"], ("title: looks like a password or token",)),
    uri("databricks", "databricks", "give --tracking-uri sqlite:///"),
    uri("an empty URI", "", "--tracking-uri: is empty"),
    uri("two slashes", "sqlite://mlflow.db", "names no file; write it as in sqlite:///mlflow.db"),
    uri("no file named", "sqlite:///", "names no file"),
    uri("in memory", "sqlite:///:memory:", "names no file"),
    uri("no such folder", "sqlite:///no/mlflow.db", "there is no folder"),
    uri("a directory", "sqlite:///data.db", "is a folder; name a file in it", edit=lambda f: (f / "data.db").mkdir()),
    uri("no database", "sqlite:///other.db", "file is not a database", edit=_garbage),
    uri("someone else's database", "sqlite:///other.db", "is a database, but not MLflow's", edit=_someone_elses),
    uri("a percent sign", "sqlite:///50%25.db", "MLflow cannot use a path with '%'"),
    uri("no host", "http://", "names no host"),
    uri("a broken address", "http://[::1", "give another --tracking-uri"),
    uri("a port beyond all", "http://127.0.0.1:99999", "http://127.0.0.1:99999"),
    uri("nobody there", "http://127.0.0.1:9", "no MLflow server can be reached: the connection was refused"),
    Case("report of nothing", lambda _: ["report", "bad.yaml"], ("nothing has been run here yet; start with 'lossbench run SUITE'",)),
    Case("ui of nothing", lambda _: ["ui"], ("nothing has been run here yet",)),
    Case("ui at no port", lambda _: ["ui", "--port", "0"], ("--port",)),
]  # fmt: skip
