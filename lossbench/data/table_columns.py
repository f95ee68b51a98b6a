"""Image and label columns of a table, and their values."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossbench.errors import DataError

IMAGES = ("image", "img")
LABELS = ("label", "labels", "fine_label", "target", "class")
"""Column names to prefer, if several columns are suitable."""


@dataclass(frozen=True)
class Columns:
    """Image and label column of a table.

    Attributes:
        image: Name of the image column.
        label: Name of the label column.
        encoded: Whether images are image files; otherwise they are lists of numbers.
        classes: Class names; empty if the table does not have them.
    """

    image: str
    label: str
    encoded: bool
    classes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, str]:
        return self.image, self.label


def find_columns(where: Path, schema: Any) -> Columns:
    """Find the image and the label column by type, and by name if several are suitable.

    Args:
        where: Folder of the table.
        schema: Schema of the table, from pyarrow.

    Raises:
        DataError: No column is suitable, or several are.
    """
    features = _features(schema)
    kinds = {field.name: field.type for field in schema}
    files = [name for name, kind in kinds.items() if _holds_files(kind)]
    numbers = [name for name, kind in kinds.items() if _depth(kind) in (2, 3)]
    image = _one_of(where, "images", files or numbers, IMAGES, schema)
    named = [n for n in kinds if features.get(n, {}).get("_type") == "ClassLabel"]
    plain = [name for name in LABELS if name in kinds and _holds_labels(kinds[name])]
    label = _one_of(where, "labels", named or plain, LABELS, schema)
    classes = tuple(map(str, features.get(label, {}).get("names") or ()))
    return Columns(image, label, bool(files), classes)


def labels_of(
    where: str, column: Any, columns: Columns, known: list[str]
) -> tuple[NDArray[np.int64], list[str]]:
    """Labels (N,) and class names.

    Args:
        where: Name of the table in messages.
        column: Column of class numbers or class names.
        columns: Columns of the table, with class names if it has them.
        known: Class names of the training set; empty for the training set itself.

    Raises:
        DataError: A label is missing, or is not a class of the training set.
    """
    if column.null_count:
        raise DataError(f"{where}: {column.null_count} of {len(column)} labels are missing")
    values = column.to_numpy()
    if values.dtype.kind in "iu":
        labels = values.astype(np.int64)
        return labels, known or list(columns.classes) or [str(k) for k in range(labels.max() + 1)]
    names = values.astype(str)
    classes = known or sorted(set(names.tolist()))
    unknown = sorted(set(names.tolist()) - set(classes))
    if unknown:
        raise DataError(f"{where}: no training image is of class {unknown[0]}")
    place = {name: index for index, name in enumerate(classes)}
    return np.array([place[name] for name in names.tolist()], np.int64), classes


def image_arrays(where: str, column: Any) -> NDArray[np.uint8]:
    """Images (N, H, W, C) from lists of numbers (H, W), (H, W, C) or (C, H, W).

    Args:
        where: Name of the table in messages.
        column: Column of nested lists.

    Raises:
        DataError: Sizes differ, or numbers are outside [0, 255].
    """
    import pyarrow

    depth, inner = _depth(column.type), column.combine_chunks()
    sizes: list[int] = [len(inner)]
    for _ in range(depth):
        if inner.null_count:
            raise DataError(f"{where}: an image is missing, or a part of it")
        lengths = np.unique(inner.value_lengths().to_numpy(zero_copy_only=False))
        if len(lengths) != 1 or not lengths[0]:
            raise DataError(
                f"{where}: images given as numbers should have the same size; save them as files"
            )
        sizes.append(int(lengths[0]))
        inner = inner.flatten()
    if not pyarrow.types.is_integer(inner.type) or inner.null_count:
        raise DataError(f"{where}: images should be whole numbers from 0 to 255, not {inner.type}")
    numbers = inner.to_numpy(zero_copy_only=False)
    if inner.type != pyarrow.uint8() and (numbers.min() < 0 or numbers.max() > 255):
        raise DataError(
            f"{where}: images should be numbers from 0 to 255, not {numbers.min()} to "
            f"{numbers.max()}"
        )
    images: NDArray[np.uint8] = numbers.astype(np.uint8).reshape(sizes)
    if depth == 2:
        return images[..., None]
    if sizes[3] in (1, 3):
        return images
    if sizes[1] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    size = "x".join(map(str, sizes[1:]))
    raise DataError(f"{where}: images of {size} have no side of 1 or 3 channels")


def _features(schema: Any) -> dict[str, Any]:
    """Description of each column by the library `datasets`; empty without one."""
    try:
        noted = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {k: v for k, v in noted.items() if isinstance(v, dict)} if noted else {}


def _holds_files(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return any(f.name == "bytes" and _holds_files(f.type) for f in kind.fields)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _holds_labels(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind))


def _depth(kind: Any) -> int:
    """Nesting depth of a list type; 0 for other types."""
    import pyarrow.types as types

    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return 1 + _depth(kind.value_type) if lists else 0


def _one_of(where: Path, what: str, found: list[str], preferred: Iterable[str], schema: Any) -> str:
    if len(found) == 1:
        return found[0]
    chosen = next((name for name in preferred if name in found), None)
    if chosen is not None:
        return chosen
    columns = ", ".join(f"{field.name} ({str(field.type)[:40]})" for field in schema)[:500]
    why = (
        f"has several columns of {what} ({', '.join(found)}); keep one"
        if found
        else (f"has no column of {what}")
    )
    raise DataError(f"{where}: {why}; columns are {columns}")
