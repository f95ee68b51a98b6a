"""Files that can be recomputed: their folder, and JSON that is valid for one installation."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lossbench.suite.atomic_files import write_atomically

MAX_FILES = 8
"""Number of files of one name that are kept, each of another installation or version."""


def cache_folder() -> Path:
    """Folder for files that can be recomputed, such as digests; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lossbench"


def installation_digest(package: Path | None = None) -> str:
    """Digest of all that determines what lossbench does, without importing it.

    That is the content of its Python files, the version of Python, and the installed packages, with
    their versions, times of installation and entry points.

    Args:
        package: Folder of the package. Default: the one that this file is part of.
    """
    package = package or Path(__file__).parents[1]
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((sys.version, sys.implementation.name, sys.flags.optimize)).encode())
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"\n{path.relative_to(package)} {len(content)}\n".encode())
        digest.update(content)
    for name in _installed_packages():
        digest.update(f"\n{name}".encode())
    return digest.hexdigest()


def _installed_packages() -> Iterator[str]:
    """Name and version of each installed package, with the state of its entry points."""
    for place in sys.path:
        try:
            with os.scandir(place or os.curdir) as entries:
                found = sorted(
                    (entry.name, entry.path)
                    for entry in entries
                    if entry.name.endswith((".dist-info", ".egg-info"))
                )
        except OSError:  # a file, such as a zip archive, or nothing
            found = [(place, place)]
        for name, path in found:
            yield " ".join([name, _state(path), _state(os.path.join(path, "entry_points.txt"))])


def _state(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return "-"
    return f"{found.st_mtime_ns} {found.st_size}"


def read_cached(name: str, key: str) -> Any:
    """Return the value that `write_cached` stored; None if there is none, or its file is broken.

    Args:
        name: Name of the value: letters, digits and underscores.
        key: Digest of everything that the value depends on.
    """
    try:
        digest, _, text = _file(name, key).read_text(encoding="utf-8").partition("\n")
        return json.loads(text) if digest == _text_digest(text) else None
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home folder
        return None


def write_cached(name: str, key: str, value: Any, *, max_files: int = MAX_FILES) -> None:
    """Store a value as JSON, and delete files of the same name if there are many.

    Nothing happens if the folder cannot be written.

    Args:
        name: Name of the value, as in `read_cached`.
        key: Digest of everything that the value depends on.
        value: The value.
        max_files: Number of files of this name that are kept.
    """
    text = json.dumps(value)
    with contextlib.suppress(OSError, RuntimeError):
        path = _file(name, key)
        write_atomically(path, f"{_text_digest(text)}\n{text}".encode())
        others = sorted(path.parent.glob(f"{name}-*.json"), key=lambda file: file.stat().st_mtime)
        for old in others[:-max_files]:
            old.unlink(missing_ok=True)


def _file(name: str, key: str) -> Path:
    return cache_folder() / f"{name}-{key}.json"


def _text_digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
