"""Checks of MLflow's SQLite database before use; reading only rolls back killed transactions."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

from lossbench.errors import NothingRecordedError
from lossbench.tracking.location import Location

_TIMEOUT_SEC = 10
_CHOOSE = "choose another file with --tracking-uri"
_REVISION = re.compile(r"^revision\b[^=]*= *[\"'](\w+)[\"']", re.MULTILINE)
_FOLLOWED = re.compile(r"^down_revision\b[^=]*= *[\"'](\w+)[\"']", re.MULTILINE)


def read_only_uri(path: Path) -> str:
    """URI of a database that MLflow can only read."""
    # for `sqlite:///` MLflow would make the folder `file:` in the working folder
    return f"sqlite+pysqlite:///file:{path}?mode=ro&uri=true"


def check_folder(location: Location, path: Path) -> None:
    if not path.parent.is_dir():
        raise location.error(f"there is no folder {path.parent}; create it first")


def check_readable(location: Location, path: Path) -> None:
    """Require a database that can be read.

    Raises:
        NothingRecordedError: There is no database, or it has no experiments yet.
        TrackingError: It cannot be read.
    """
    check_folder(location, path)
    if not path.exists():
        raise NothingRecordedError(
            f"{location.display_uri}: nothing has been run here yet; "
            "start with 'lossbench run SUITE'"
        )
    check_database(location, path, write=False)


def check_database(location: Location, path: Path, *, write: bool) -> None:
    """Require that a file is a database of the installed MLflow and can be read or written.

    MLflow by itself would try for 100 seconds to open an unusable file, add its tables to a
    database of another program, and upgrade an older schema without asking.

    Raises:
        NothingRecordedError: It is to be read, and has no experiments yet.
        TrackingError: It is not a database of MLflow, or cannot be used.
    """
    if path.is_dir():
        raise location.error("is a folder; name a file in it, as in .../mlflow.db")
    try:
        if not path.stat().st_size:
            raise location.error(f"is an empty file, no database; remove it, or {_CHOOSE}")
        # sqlite would report this only on the first write; it needs a journal next to the file
        if write and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            raise location.error(
                f"you may read it, but not write it or its folder; copy the folder, or {_CHOOSE}"
            )
        _restore(path)
        with closing(_connect(path, "rw" if write else "ro")) as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
            if not {"alembic_version", "experiments"} <= tables:
                raise location.error(f"is a database, but not MLflow's; {_CHOOSE}")
            revisions = [name for (name,) in db.execute("SELECT version_num FROM alembic_version")]
            _check_schema(location, path, revisions)
            if write:
                db.execute("BEGIN IMMEDIATE").execute("ROLLBACK")
            elif not db.execute("SELECT 1 FROM experiments LIMIT 1").fetchone():
                raise NothingRecordedError(f"{location.display_uri}: nothing has been run here yet")
    except sqlite3.Error as error:
        if _name(error).startswith("SQLITE_BUSY"):
            raise location.error(
                f"another process is writing to it ({error}); try again when that has ended"
            ) from None
        raise location.error(
            f"{error}; make it a file that you may {'write' if write else 'read'}, or {_CHOOSE}"
        ) from None
    except OSError as error:
        raise location.error(f"cannot be read: {error.strerror}; {_CHOOSE}") from None


def content_version(path: Path) -> tuple[bytes, int, int]:
    """Value that changes with every commit to a database."""
    with path.open("rb") as file:
        header = file.read(28)
    journal = path.with_name(f"{path.name}-wal")  # in WAL mode, changes are in this file first
    try:
        stat = journal.stat()
    except FileNotFoundError:
        return header[24:], 0, 0
    return header[24:], stat.st_size, stat.st_mtime_ns


def connect_for_reading(path: Path) -> sqlite3.Connection:
    """Read-only connection to a database that was checked before.

    Raises:
        sqlite3.Error: It cannot be read.
    """
    _restore(path)  # another process may have been killed meanwhile
    return _connect(path, "ro")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=_TIMEOUT_SEC)


def _restore(path: Path) -> None:
    """Roll back an incomplete transaction of a killed process, which would block readers."""
    try:
        _read_once(path, "ro")
    except sqlite3.Error as error:
        if not _name(error).startswith("SQLITE_READONLY_"):  # _ROLLBACK or _RECOVERY
            raise
        _read_once(path, "rw")


def _read_once(path: Path, mode: str) -> None:
    with closing(_connect(path, mode)) as db:
        db.execute("SELECT 1 FROM sqlite_master").fetchone()


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", "")  # absent in errors of the Python module


def _check_schema(location: Location, path: Path, revisions: list[str]) -> None:
    """Compare the schema of a database with that of the installed MLflow.

    Raises:
        TrackingError: The schemas differ.
    """
    if revisions == [newest_revision()]:
        return
    import mlflow

    head, known = known_revisions()
    if revisions == [head]:
        return
    found = " and ".join(revisions) or "none"
    installed = f"MLflow {mlflow.__version__}"
    if revisions and not known.issuperset(revisions):
        raise location.error(
            f"has schema revision {found}, which {installed} does not support; if a newer MLflow "
            f"created it, install that version (pip install --upgrade mlflow), or {_CHOOSE}"
        )
    file = shlex.quote(str(path))
    backup = shlex.quote(f"{path}.bak")
    upgrade = f"mlflow db upgrade {shlex.quote(f'sqlite:///{path}')}"
    raise location.error(
        f"has schema revision {found} of another MLflow, but {installed} needs {head}, and an "
        f"upgrade cannot be undone. Back it up and upgrade it with 'cp {file} {backup} && "
        f"{upgrade}', or {_CHOOSE}"
    )


@functools.cache
def known_revisions() -> tuple[str, set[str]]:
    """Newest schema revision of the installed MLflow, and all its revisions."""
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(_migrations()))
    [head] = script.get_heads()
    return head, {revision.revision for revision in script.walk_revisions()}


def newest_revision() -> str | None:
    """Newest schema revision by the text of MLflow's migrations, whose import takes seconds.

    Returns:
        The only revision that no other one follows; None if there is not exactly one.
    """
    texts = [file.read_text(encoding="utf-8") for file in (_migrations() / "versions").glob("*.py")]
    revisions = {key for text in texts for key in _REVISION.findall(text)}
    newest = revisions - {key for text in texts for key in _FOLLOWED.findall(text)}
    return newest.pop() if len(newest) == 1 else None


def _migrations() -> Path:
    """Folder of MLflow's migrations.

    Raises:
        ModuleNotFoundError: MLflow is not installed.
    """
    found = importlib.util.find_spec("mlflow")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'mlflow'", name="mlflow")
    return Path(found.origin).parent / "store" / "db_migrations"
