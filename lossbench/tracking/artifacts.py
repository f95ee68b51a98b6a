"""Locations of artifacts: next to the database, even if it was moved or copied.

MLflow stores absolute paths, such as `/old/folder/mlartifacts/digits/RUN/artifacts`. Only the part
from `mlartifacts` on is used here, so that the results in a moved folder are found and a copy never
writes to the original.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from lossbench.suite.atomic_files import atomic_path, write_atomically
from lossbench.tracking.location import Location
from lossbench.tracking.server_errors import failures
from lossbench.tracking.stored_run import StoredRun

if TYPE_CHECKING:
    from lossbench.tracking.connection import GetClient

FOLDER = "mlartifacts"


def artifact_root(database: Path) -> Path:
    """Folder of all artifacts of a database."""
    return _resolved(database.absolute()).parent / FOLDER


@lru_cache(maxsize=8)
def _resolved(database: Path) -> Path:
    """Path without symbolic links, which takes longer than reading a result."""
    return database.resolve()


def write_folder(client: GetClient, location: Location, run: StoredRun, source: Path) -> None:
    """Store every file of a folder as an artifact of a run.

    A file that is there already is replaced as a whole: other processes may read it, and the disk
    may be full.
    """
    folder = _folder(run, location.database)
    if folder is None:
        client().log_artifacts(run.run_id, str(source))
    else:
        shutil.copytree(source, folder, dirs_exist_ok=True, copy_function=_copy)


def _copy(source: str, target: str) -> None:
    with atomic_path(Path(target)) as temporary:
        shutil.copy2(source, temporary)


def write_text(client: GetClient, location: Location, run: StoredRun, name: str, text: str) -> None:
    """Store a text as an artifact of a run, like `write_folder`."""
    folder = _folder(run, location.database)
    if folder is None:
        client().log_text(run.run_id, text, name)
    else:
        write_atomically(folder / name, text.encode())


def read_artifacts(
    client: GetClient, location: Location, run: StoredRun, omitted: Collection[str]
) -> Iterator[tuple[str, bytes]]:
    """Paths and contents of the artifacts of a run.

    Args:
        client: Returns MLflow's client.
        location: Location of the store.
        run: The run.
        omitted: Names of files that are left out.
    """
    for name in list_artifacts(client, location, run, ""):
        content = None if name in omitted else read_artifact(client, location, run, name)
        if content is not None:
            yield name, content


def artifact_path(location: Location, run: StoredRun, name: str) -> Path | None:
    """Path of an artifact that is a file on this machine; None for a server or a missing file."""
    folders = [_folder(run, location.database), _recorded_folder(run)]
    if location.database is None:
        return None
    return next((f / name for f in folders if f is not None and (f / name).is_file()), None)


def has_artifact(client: GetClient, location: Location, run: StoredRun, name: str) -> bool:
    """Whether a run has an artifact."""
    if location.database is not None and _recorded_folder(run) is not None:
        return artifact_path(location, run, name) is not None
    return name in {file.path for file in client().list_artifacts(run.run_id)}


def artifact_bytes(client: GetClient, location: Location, run: StoredRun, name: str) -> int | None:
    """Size of an artifact that `delete_artifact` can delete; None if there is none.

    A file in the folder that a database was copied from belongs to the original.
    """
    folder = _folder(run, location.database)
    if location.database is not None and folder is not None:
        path = folder / name
        return path.stat().st_size if path.is_file() else None
    sizes = {file.path: file.file_size for file in client().list_artifacts(run.run_id)}
    return int(sizes[name] or 0) if name in sizes else None


def delete_artifact(location: Location, run: StoredRun, name: str) -> None:
    """Delete an artifact of a run.

    Raises:
        TrackingError: MLflow cannot delete files where this run has its artifacts.
        One of failures(): The server or bucket refuses it.
    """
    folder = _folder(run, location.database)
    if location.database is not None and folder is not None:
        (folder / name).unlink(missing_ok=True)
        return
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    place = get_artifact_repository(run.artifact_uri, tracking_uri=location.uri)
    try:
        place.delete_artifacts(name)  # type: ignore[no-untyped-call]
    except NotImplementedError:
        raise location.error(
            f"MLflow cannot delete files in {urlsplit(run.artifact_uri).scheme} storage; "
            f"delete the files {name} there with its own tools"
        ) from None


def list_artifacts(
    client: GetClient, location: Location, run: StoredRun, inside: str = ""
) -> Iterator[str]:
    """Paths of the artifacts of a run.

    Args:
        client: Returns MLflow's client.
        location: Location of the store.
        run: The run.
        inside: Folder among the artifacts; empty for all of them.
    """
    folder = _folder(run, location.database)
    if folder is not None:
        recorded = _recorded_folder(run)
        places = [folder, *([recorded] if recorded else [])]
        found = next((place for place in places if place.is_dir()), folder)
        files = sorted((found / inside).rglob("*"))
        yield from (str(path.relative_to(found)) for path in files if path.is_file())
        return
    for file in client().list_artifacts(run.run_id, inside or None):
        if file.is_dir:
            yield from list_artifacts(client, location, run, file.path)
        else:
            yield file.path


def read_artifact(client: GetClient, location: Location, run: StoredRun, name: str) -> bytes | None:
    """Read an artifact; None if the run does not have it.

    Raises:
        One of failures(): A server or bucket has it, but does not return it.
    """
    places = _places(run, location.database)
    if places:
        for place in places:
            missing = contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError)
            with missing, open(os.path.join(place, name), "rb") as file:
                return file.read()
        return None
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory() as target:
        try:
            copy = download_artifacts(
                artifact_uri=f"{run.artifact_uri}/{name}",
                dst_path=target,
                tracking_uri=location.uri,
            )
        except failures():
            folder_name = name.rpartition("/")[0] or None
            kept = {file.path for file in client().list_artifacts(run.run_id, folder_name)}
            if name in kept:
                raise
            return None
        return Path(copy).read_bytes()


def _places(run: StoredRun, database: Path | None) -> tuple[str, ...]:
    """Folders with a run's artifacts, the first one first; empty if they are not in a folder.

    If only the database was copied, the artifacts are still in the old folder.
    """
    end = f"/{run.run_id}/artifacts"
    if run.artifact_uri.endswith(end):
        places = _experiment_places(run.artifact_uri.removesuffix(end), database)
        return tuple(place + end for place in places)
    recorded, folder = _recorded_folder(run), _folder(run, database)
    return () if recorded is None or folder is None else (str(folder), str(recorded))


@lru_cache(maxsize=64)
def _experiment_places(uri: str, database: Path | None) -> tuple[str, ...]:
    """Folders with the artifacts of an experiment, like `_places`; thousands of runs share them.

    Args:
        uri: Location of the artifacts of its runs, without the run.
        database: SQLite database with the runs; None for a server.
    """
    if not _is_local(uri):
        return ()
    recorded = _local_path(uri)
    if database is None or recorded.parent.name != FOLDER:
        return (str(recorded),)
    return (str(artifact_root(database) / recorded.name), str(recorded))


def _recorded_folder(run: StoredRun) -> Path | None:
    """Folder of a run's artifacts as recorded by MLflow; None if they are not in a folder."""
    uri = run.artifact_uri
    if not _is_local(uri):
        return None
    return _local_path(uri)


def _folder(run: StoredRun, database: Path | None) -> Path | None:
    """Folder for a run's artifacts, next to the database; None if they are not in a folder.

    Args:
        run: The run.
        database: SQLite database with the run; None for a server.
    """
    recorded = _recorded_folder(run)
    if recorded is None or database is None:
        return recorded
    inside = recorded.parts[-4:]  # mlartifacts/EXPERIMENT/RUN/artifacts
    if inside[0] != FOLDER or inside[2:3] != (run.run_id,):
        return recorded
    return artifact_root(database).joinpath(*inside[1:])


def _is_local(uri: str) -> bool:
    return urlsplit(uri).scheme in ("", "file")


def _local_path(uri: str) -> Path:
    """Path of a local folder, as MLflow reads it: a plain path may be quoted, too."""
    return Path(url2pathname(urlsplit(uri).path if uri.startswith("file:") else uri))


def relocate(database: Path) -> None:
    """Update the artifact paths of a moved database, for MLflow's server and command line.

    Only experiments whose path was set by lossbench are changed. A run keeps its path if its
    artifacts were left in the old folder.

    Raises:
        sqlite3.Error: The database cannot be written.
    """
    root = artifact_root(database)
    with closing(sqlite3.connect(database, timeout=10)) as db, db:
        found = db.execute("SELECT experiment_id, name, artifact_location FROM experiments")
        for experiment, name, location in found.fetchall():
            inside = f"/{FOLDER}/{name}"
            ours = _is_local(location or "") and (location or "").endswith(inside)
            if not ours or location == f"{root}/{name}":
                continue
            db.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                (f"{root}/{name}", experiment),
            )
            runs = db.execute(
                "SELECT run_uuid, artifact_uri FROM runs WHERE experiment_id = ?", (experiment,)
            )
            for run, uri in runs.fetchall():
                moved = f"{root}/{name}/{run}/artifacts"
                if not (uri or "").endswith(f"{inside}/{run}/artifacts"):
                    continue
                if _is_left_behind(uri, moved):
                    continue
                db.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (moved, run))


def _is_left_behind(uri: str, moved: str) -> bool:
    """Whether the artifacts of a run are only in the old folder."""
    if Path(moved).is_dir():
        return False
    return _local_path(uri).is_dir()
