"""Write files and folders atomically: a reader sees the old content or the new.

A folder that is replaced is missing for a moment.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(
    path: Path,
    *,
    durable: bool = False,
    replace_folder: bool = False,
    temporary: Path | None = None,
) -> Iterator[Path]:
    """Yield a temporary path next to the target; its file or folder is renamed to the target.

    The caller creates a file or a folder at the temporary path, with the permissions of the target.
    If the block raises, the temporary file is removed and the target is unchanged.

    Args:
        path: Target; its parent folder is created.
        durable: Whether content and renaming are synced, so that they survive a power failure.
        replace_folder: Whether the target may be a folder with files, which is replaced.
        temporary: Temporary path in the same folder, for a caller that holds a lock; a leftover of
            a killed process is replaced. Default: a unique name.

    Yields:
        The temporary path; nothing exists there yet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary or _unique(path)
    _remove(temporary)
    try:
        yield temporary
        if durable:
            for file in [temporary, *temporary.rglob("*")]:
                if file.is_file():
                    _sync(file)
        if replace_folder:
            remove_atomically(path)
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise
    if durable:
        _sync_folder(path.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that all users, such as a web server, may read."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
        temporary.chmod(0o644)


def link_or_copy(source: Path, target: Path) -> None:
    """Make a hard link to a file that is never changed, or a copy if that is not possible."""
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def write_files(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write files below a folder.

    Args:
        folder: The folder; created if it is missing.
        files: Relative path and content of each file.
    """
    for name, content in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def remove_atomically(folder: Path) -> None:
    """Delete a folder if it exists; it is renamed first, so that nobody sees it half deleted."""
    deleted = _unique(folder)
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder, deleted)
    shutil.rmtree(deleted, ignore_errors=True)


def _unique(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    try:
        _sync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync a folder
            raise
