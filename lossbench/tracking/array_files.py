"""Reading of arrays from `.npz` files; small ones three times as fast as by `numpy.load`."""

from __future__ import annotations

import io
import zipfile
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LENGTHS = {1: (8, 10), 2: (8, 12)}
"""Major version of the format -> place of the length of the header, and start of the header."""


def read_npz(content: bytes) -> dict[str, NDArray[Any]]:
    """Arrays of a file by name.

    Raises:
        ValueError, EOFError, zipfile.BadZipFile: The content is broken, or has Python objects.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        return {name.removesuffix(".npy"): _array(archive.read(name)) for name in names}


def _array(content: bytes) -> NDArray[Any]:
    major, _ = np.lib.format.read_magic(io.BytesIO(content[:8]))
    if major not in _LENGTHS:  # names of fields that are not ASCII
        return np.asarray(np.lib.format.read_array(io.BytesIO(content)))
    length, start = _LENGTHS[major]
    end = start + int.from_bytes(content[length:start], "little")
    shape, fortran_order, dtype = _layout(major, content[length:end])
    if dtype.hasobject:
        raise ValueError("it has Python objects")
    values = np.frombuffer(content, dtype, offset=end)
    return values.reshape(shape, order="F" if fortran_order else "C").copy("K")


@lru_cache(maxsize=256)
def _layout(major: int, header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns are stored one after the other, and type.

    numpy parses the header as Python code, which takes longer than reading a small array; arrays of
    the same shape have the same header.
    """
    file, formats = io.BytesIO(header), np.lib.format
    read = formats.read_array_header_1_0 if major == 1 else formats.read_array_header_2_0
    return read(file)
