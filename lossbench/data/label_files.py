"""Files with labels for the images of a training set, which replace those of the data set."""

from __future__ import annotations

import csv
import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lossbench.data.sampling import Indices
from lossbench.errors import did_you_mean, first_line, truncated_repr
from lossbench.registry import user_path

ONE_ARRAY, SEVERAL_ARRAYS, TEXTS = {".npy"}, {".npz", ".pt", ".pth"}, {".csv", ".txt"}
"""Endings of files with one array, with several arrays by name, and with a label per line."""
CLEAN = "clean_label"
"""Name of the true labels in the files of CIFAR-N, which shows whether the order is the same."""


class LabelKeyError(ValueError):
    """The key of the labels is missing or wrong."""


@dataclass(frozen=True)
class LabelFile:
    """Labels read from a file.

    Attributes:
        labels: Labels (N,).
        clean: True labels (N,) that the file also has; None if it has none.
    """

    labels: Indices
    clean: Indices | None = None

    @property
    def digest(self) -> str:
        """Digest of the labels, the same for every form of file."""
        content = np.ascontiguousarray(self.labels, dtype="<i8").tobytes()
        return hashlib.sha256(content).hexdigest()[:16]


def find_label_file(name: str, data_root: Path | None) -> Path:
    """Path of a file of labels: a path if it has a `/` or begins with `.`, else in the data root.

    Raises:
        ValueError: There is no such file.
    """
    is_path = is_label_path(name)
    path = user_path(name).absolute() if is_path else (data_root or Path()).absolute() / name
    if not path.is_file():
        known = [p.name for p in path.parent.glob("*") if p.suffix in SUFFIXES]
        near = did_you_mean(path.name, known) if path.parent.is_dir() else ""
        raise ValueError(f"{path}: no such file{near}")
    return path


SUFFIXES = ONE_ARRAY | SEVERAL_ARRAYS | TEXTS


def is_label_path(name: str) -> bool:
    """Whether a suite names the file by its path, not by its name in the data root."""
    return "/" in name or name.startswith(".")


def read_label_file(path: Path, key: str | None, class_names: Sequence[str]) -> LabelFile:
    """Read a file with one label per image; the last two files stay in memory.

    Args:
        path: `.npy`, `.npz`, `.pt`, `.pth`, `.csv` or `.txt` file.
        key: Name of the labels in a file with several arrays, else None.
        class_names: Names of the K classes.

    Raises:
        LabelKeyError: The key is missing, unknown or superfluous.
        ValueError: The file cannot be read, or a label is no class.
    """
    stat = os.stat(path)
    state = stat.st_size, stat.st_mtime_ns, stat.st_ino
    return _read_label_file(path, key, tuple(class_names), state)


@functools.lru_cache(maxsize=2)
def _read_label_file(
    path: Path, key: str | None, names: tuple[str, ...], state: tuple[int, ...]
) -> LabelFile:
    if path.suffix in SEVERAL_ARRAYS:
        arrays = _read_arrays(path)
        if key is None or key not in arrays:
            found = "give the name of the labels" if key is None else f"{path.name} has no {key!r}"
            raise LabelKeyError(f"{found}{did_you_mean(key or '', arrays)}")
        clean = arrays.get(CLEAN)
        return LabelFile(
            _class_numbers(path, arrays[key], names),
            None if clean is None else _class_numbers(path, clean, names),
        )
    if key is not None:
        raise LabelKeyError(f"is only for .npz and .pt files; {path.name} has no names")
    if path.suffix in ONE_ARRAY:
        try:
            array = np.load(path)
        except Exception as error:
            raise ValueError(f"{path}: cannot be read: {first_line(error)}") from None
        return LabelFile(_class_numbers(path, array, names))
    if path.suffix in TEXTS:
        return LabelFile(_numbers_of_texts(path, _read_lines(path, names), names))
    raise ValueError(f"{path}: should end with one of {', '.join(sorted(SUFFIXES))}")


def _read_arrays(path: Path) -> Mapping[str, Any]:
    """Arrays, tensors or lists of a file, by name."""
    if path.suffix == ".npz":
        try:
            with np.load(path) as found:
                return dict(found)
        except Exception as error:
            raise ValueError(f"{path}: cannot be read: {first_line(error)}") from None
    import torch

    try:
        with torch.serialization.safe_globals(_numpy_globals()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch's message asks to run the code in the file
        raise ValueError(
            f"{path}: cannot be read as a dict of tensors, NumPy arrays and lists; a file with "
            "other content could run code and is not opened"
        ) from None
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ValueError(f"{path}: should be a dict of labels by name, not {type(content)}")
    return content


def _numpy_globals() -> list[Any]:
    """Functions and types that an unpickler needs for NumPy arrays of numbers and texts."""
    from numpy._core.multiarray import _reconstruct, scalar

    dtypes = {type(np.dtype(code)) for code in "bBhHiIlLqQU"}
    functions: list[Any] = [np.ndarray, np.dtype, *dtypes]
    for function in (_reconstruct, scalar):
        for module in ("numpy.core", "numpy._core"):  # as NumPy 1 and NumPy 2 call it
            functions.append((function, f"{module}.multiarray.{function.__name__}"))
    return functions


def _class_numbers(path: Path, values: Any, names: tuple[str, ...]) -> Indices:
    """Numbers of classes that are given as an array of numbers or names.

    Raises:
        ValueError: It is no such array, or a value is no class.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.empty((0, 0))
    if array.ndim != 1 or array.dtype.kind not in "iuUS":
        raise ValueError(
            f"{path}: should have one class number or name per image, shape (N,), not "
            f"{array.dtype} {array.shape}"
        )
    if array.dtype.kind in "US":
        return _numbers_of_texts(path, [str(text) for text in array.astype(str)], names)
    wrong = np.flatnonzero((array < 0) | (array >= len(names)))
    if len(wrong):
        raise ValueError(
            f"{path}: label {array[wrong[0]]} of image {wrong[0]} is no class; there are "
            f"{len(names)}, numbered from 0"
        )
    return array.astype(np.int64)


def _read_lines(path: Path, names: tuple[str, ...]) -> list[str]:
    """Labels of a text file, without a heading and empty lines at the end."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    while rows and not any(rows[-1]):
        rows.pop()
    for number, row in enumerate(rows, 1):
        if len(row) != 1:
            raise ValueError(f"{path}: line {number} should have one label, not {len(row)}")
    texts = [row[0] for row in rows]
    has_heading = bool(texts) and texts[0] not in names and not texts[0].lstrip("-").isdecimal()
    return texts[1:] if has_heading else texts


def _numbers_of_texts(path: Path, texts: Sequence[str], names: tuple[str, ...]) -> Indices:
    """Numbers of classes that are given by name, or all by number.

    Raises:
        ValueError: A text is no class, or it could be the name or the number of different ones.
    """
    number_of = {name: k for k, name in enumerate(names) if names.count(name) == 1}
    distinct = set(texts)
    by_name = distinct <= number_of.keys()
    by_number = all(text.isdecimal() and int(text) < len(names) for text in distinct)
    if by_name and by_number and any(number_of[text] != int(text) for text in distinct):
        raise ValueError(
            f"{path}: the labels can be read as names and as numbers of classes, since class names "
            "here are numbers; give the numbers, counted from 0, as an integer array (.npy)"
        )
    if not by_name and not by_number:
        if all(text.isdecimal() for text in distinct):
            return _class_numbers(path, [int(text) for text in texts], names)
        first = next(i for i, text in enumerate(texts) if text not in number_of)
        wrong, near = truncated_repr(texts[first]), did_you_mean(texts[first], names)
        raise ValueError(f"{path}: label {wrong} of image {first} is no class{near}")
    return np.array([number_of[t] if by_name else int(t) for t in texts], np.int64)
