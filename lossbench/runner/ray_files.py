"""Folders for Ray's sockets, logs and objects on this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from lossbench.errors import RequestError

SHARED_MEMORY = Path("/dev/shm")
STORE_BYTES = 100 * 2**20
"""Size of Ray's object store, far above the size of trial reports. Ray's minimum is 75 MiB."""
LOGS_BYTES = 64 * 2**20
"""Room for logs and sockets."""
_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
MAX_PATH_BYTES = 107 - len(_SOCKET)
"""Maximum length of the folder's path: on Linux, the path of a socket has up to 107 bytes."""


def ray_options() -> dict[str, Any]:
    """Arguments of `ray.init` that let Ray start even if shared memory is small.

    By default, Ray puts a store of 30 % of the memory in /dev/shm, of which Docker provides 64 MiB.
    Sets RAY_TMPDIR, because Ray's processes read it, too.

    Raises:
        RequestError: No folder has room for Ray's files.
    """
    options: dict[str, Any] = {"object_store_memory": STORE_BYTES}
    on_disk = bool(_problem(SHARED_MEMORY, STORE_BYTES))
    needed = LOGS_BYTES + (STORE_BYTES if on_disk else 0)
    folder = _folder(needed)
    os.environ["RAY_TMPDIR"] = str(folder)
    if on_disk:
        store = folder / "ray"
        store.mkdir(exist_ok=True)
        options["_plasma_directory"] = str(store)
    return options


def logs_folder() -> Path:
    """Log folder of the most recent Ray session on this machine."""
    return Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "session_latest", "logs")


def _folder(needed: int) -> Path:
    problems = {}
    for name in ("RAY_TMPDIR", "TMPDIR", "/tmp", "/var/tmp", "/dev/shm"):
        path = Path(name if name.startswith("/") else os.environ.get(name) or "/tmp").absolute()
        if path not in problems:
            problems[path] = _problem(path, needed) or _problem_as_base(path)
            if not problems[path]:
                return path
    listed = "; ".join(f"{path}: {problem}" for path, problem in problems.items())
    if SHARED_MEMORY.exists():
        listed += "; in Docker, --shm-size=256m makes /dev/shm larger"
    raise RequestError(
        f"no folder for Ray's sockets and logs: {listed}. Make room, or set RAY_TMPDIR to a folder "
        f"with {needed >> 20} MiB of room and a path of at most {MAX_PATH_BYTES} bytes"
    )


def _problem(folder: Path, needed: int) -> str:
    """Reason why a folder cannot hold files of this size; empty if it can."""
    if not folder.is_dir():
        return "no such folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return "cannot be written"
    free = shutil.disk_usage(folder).free
    return f"only {free >> 20} MiB are free" if free < needed else ""


def _problem_as_base(folder: Path) -> str:
    if len(os.fsencode(folder)) > MAX_PATH_BYTES:
        return "its path is too long for sockets"
    inside = folder / "ray"
    if inside.exists() and not os.access(inside, os.W_OK | os.X_OK):
        return "its folder 'ray' belongs to somebody else"
    return ""
