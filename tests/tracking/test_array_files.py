"""Reading of arrays: the same as `numpy.load`."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest

from lossbench.tracking import array_files
from lossbench.tracking.array_files import read_npz

ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "floats": np.linspace(0, 1, 7, dtype=np.float32),
    "matrix": np.arange(12).reshape(3, 4),
    "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "scalar": np.array(3.5),
    "empty": np.zeros((0, 2)),
    "truth": np.array([True, False]),
    "texts": np.array(["a", "größe"]),
    "big_endian": np.arange(3, dtype=">i4"),
    "fields": np.zeros(2, [("größe", "f8")]),
}


def stored(arrays: dict[str, np.ndarray[Any, Any]], *, compressed: bool = False) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_are_those_that_numpy_reads(compressed: bool) -> None:
    content = stored(ARRAYS, compressed=compressed)
    found = read_npz(content)
    with np.load(io.BytesIO(content)) as expected:
        assert list(found) == list(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
            assert found[name].flags.f_contiguous == array.flags.f_contiguous
            assert found[name].flags.writeable


def test_a_header_of_version_2_is_read() -> None:
    file, member = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array(member, ARRAYS["matrix"], version=(2, 0))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("matrix.npy", member.getvalue())
    np.testing.assert_array_equal(read_npz(file.getvalue())["matrix"], ARRAYS["matrix"])


def test_arrays_of_the_same_shape_are_parsed_once() -> None:
    array_files._layout.cache_clear()
    for value in range(5):
        read_npz(stored({"labels": np.full(9, value), "predicted": np.full(9, value)}))
    assert array_files._layout.cache_info().misses == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        stored(ARRAYS)[:-30],
        stored({"objects": np.array([{}], dtype=object)}),
    ],
)
def test_broken_content_is_an_error(content: bytes) -> None:
    with pytest.raises((ValueError, EOFError, zipfile.BadZipFile)):
        read_npz(content)


@pytest.mark.parametrize("change", [lambda raw: raw[:-8], lambda raw: b"no array", lambda raw: b""])
def test_a_broken_member_is_an_error(change: Any) -> None:
    file, member = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array(member, ARRAYS["matrix"])
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("matrix.npy", change(member.getvalue()))
    with pytest.raises((ValueError, EOFError)):
        read_npz(file.getvalue())
