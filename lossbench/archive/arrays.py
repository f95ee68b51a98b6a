"""Reading of NPZ files that may come from anybody."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lossbench.archive.format import MAX_ARRAYS_BYTES

Arrays = Mapping[str, np.ndarray[Any, Any]]
DAMAGED = (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError, OSError)
"""Exceptions of `zipfile` for a damaged, encrypted or unreadable file."""
_KINDS = "biufU"
"""Kinds of types that arrays may have: numbers and texts."""
_CHUNK = 2**20


def read_arrays(content: bytes) -> Arrays:
    """Arrays of an NPZ file by name."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def expanded_bytes(content: bytes) -> int:
    """Number of bytes that a zip file claims to expand to; 0 if it is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            return sum(entry.file_size for entry in file.infolist())
    except DAMAGED:
        return 0


def arrays_problem(content: bytes) -> str:
    """Reason why an NPZ file cannot be loaded safely; empty if it can.

    The sizes that it claims are compared before memory is allocated, its contents are decompressed
    in small parts, and arrays of Python objects are refused.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > MAX_ARRAYS_BYTES:
                return f"its arrays are larger than {MAX_ARRAYS_BYTES:,} bytes"
            names = [entry.filename for entry in entries]
            if len(set(names)) < len(names):
                return "has two arrays of the same name"
            for entry in entries:
                with archive.open(entry) as file:
                    if not entry.filename.endswith(".npy") or not _is_plain(file, entry.file_size):
                        return f"{entry.filename!r} is no plain array"
                    while file.read(_CHUNK):  # compares the checksum at its end
                        pass
    except (*DAMAGED, ValueError, TypeError, KeyError, SyntaxError, MemoryError) as error:
        return f"is no file of plain arrays: {str(error).partition(chr(10))[0][:200]}"
    return ""


def _is_plain(file: Any, file_size: int) -> bool:
    """Whether a file in the NPY format has exactly the numbers or texts that its header claims."""
    shape, dtype = _header(file)
    size = math.prod(shape) * dtype.itemsize
    return (
        dtype.kind in _KINDS
        and dtype.subdtype is None
        and min(shape, default=0) >= 0
        and math.prod(max(side, 1) for side in shape) * max(dtype.itemsize, 1) <= MAX_ARRAYS_BYTES
        and size == file_size - file.tell()
    )


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array in the NPY format."""
    version = np.lib.format.read_magic(file)
    readers: dict[tuple[int, int], Callable[[Any], Any]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version} of the NPY format")
    shape, _, dtype = readers[version](file)
    return shape, dtype
