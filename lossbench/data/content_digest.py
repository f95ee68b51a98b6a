"""Digests of the content of files, cached until a file changes.

For a data set of up to 1 GiB, every byte is hashed; for a larger one, the name and size of each
file and a sample of its bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from lossbench.errors import DataError
from lossbench.suite.atomic_files import write_atomically
from lossbench.suite.cache import cache_folder

HASHED_BYTES = 2**30
"""Largest total size at which every byte is hashed."""
BLOCK_BYTES, BYTES_APART = 2**12, 2**24
"""Bytes of a sampled block, and bytes of a file for each of them; at least three are sampled."""
SAMPLED = "names, sizes and a sample of the bytes, since there is more than 1 GiB"
"""Description of what the digest of a larger data set covers."""
SETTLED_NS = 2 * 10**9
"""Minimum age of a file before its digest is cached: two changes in quick succession may leave the
same times."""


class FileState(NamedTuple):
    """File attributes that change whenever the content changes.

    Attributes:
        size: Size in bytes.
        mtime_ns: Time of the last change, in nanoseconds; programs that copy files may set it.
        ctime_ns: Time of the last change of content or attributes, which programs cannot set.
        inode: Number of the file in its file system.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class HashedFile(NamedTuple):
    """File to hash.

    Attributes:
        name: Name that is hashed, the same wherever the data set is stored.
        path: Path of the file.
        state: State of the file when it was listed.
    """

    name: str
    path: str
    state: FileState


def file_state(stat: os.stat_result) -> FileState:
    """State of a file from its `os.stat`."""
    return FileState(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def is_hashed_whole(files: Iterable[HashedFile]) -> bool:
    """Whether every byte of the files is hashed, not only a sample."""
    return sum(file.state.size for file in files) <= HASHED_BYTES


def content_digest(files: Sequence[HashedFile]) -> str:
    """Digest of the names, the sizes and the content of files, all of it or a sample.

    Raises:
        DataError: A file cannot be read.
    """
    whole = is_hashed_whole(files)

    def compute() -> str:
        digest = hashlib.sha256()
        with ThreadPoolExecutor() as pool:
            found = pool.map(lambda file: hash_file(file, whole), files, chunksize=64)
            for file, content in zip(files, found, strict=True):
                digest.update(os.fsencode(f"{file.name} {file.state.size} {content}\n"))
        return digest.hexdigest()

    return cached_digest("files" if whole else "samples of files", files, compute)


def cached_digest(form: str, files: Sequence[HashedFile], compute: Callable[[], str]) -> str:
    """Result of `compute`, from the cache if the files have not changed since.

    Args:
        form: Name of the kind of digest.
        files: Files that the digest depends on.
        compute: Function that reads the files and returns a digest of 64 characters.
    """
    key = hashlib.sha256(f"{form}\n".encode())
    for file in files:
        key.update(os.fsencode(f"{file.name}\0{os.path.abspath(file.path)}\0{file.state}\n"))
    kept: Path | None = None
    with contextlib.suppress(OSError, RuntimeError):  # no cache, or no home folder
        kept = cache_folder() / "digests" / key.hexdigest()[:32]
        known = kept.read_text(encoding="ascii")
        if len(known) == 64:
            return known
    found = compute()
    newest = max((max(file.state[1:3]) for file in files), default=0)
    if kept is not None and newest < time.time_ns() - SETTLED_NS:
        _keep(kept, found)
    return found


def _keep(path: Path, text: str) -> None:
    """Write a small file completely or not at all; an error, such as a full disk, is ignored."""
    with contextlib.suppress(OSError):
        write_atomically(path, text.encode("ascii"))


def sample_bytes(path: str | Path, size: int) -> bytes:
    """Evenly spaced blocks of a file, including the first and the last.

    Args:
        path: File to read.
        size: Its size in bytes.
    """
    count = max(3, size // BYTES_APART)
    if size <= count * BLOCK_BYTES:
        return Path(path).read_bytes()
    starts = [at * (size - BLOCK_BYTES) // (count - 1) for at in range(count)]
    with open(path, "rb") as file:
        return b"".join(os.pread(file.fileno(), BLOCK_BYTES, start) for start in starts)


def hash_file(file: HashedFile, whole: bool) -> str:
    try:
        content = (
            Path(file.path).read_bytes() if whole else sample_bytes(file.path, file.state.size)
        )
    except OSError as error:
        raise DataError(f"{file.path}: cannot be read: {error.strerror}") from None
    return hashlib.sha256(content).hexdigest()
