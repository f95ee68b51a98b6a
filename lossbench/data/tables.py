"""Data sets of the Hugging Face hub on disk: tables with a column of images and one of labels.

    dataset_dict.json, train/state.json, train/data-*.arrow, test/...    (DatasetDict.save_to_disk)
    state.json, data-*.arrow                     (Dataset.save_to_disk; training images only)
    data/train-00000-of-00001.parquet, data/test-*.parquet               (as the hub has them)

Read with pyarrow alone. Where there is no test set, or its labels are held back (-1), the
validation set is measured. Images of one size become arrays, grey ones with one channel; others
are decoded as they are needed, like those of an image folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossbench.data.dataset import Card, Dataset, Split
from lossbench.data.decoding import decode, is_turned, may_be_turned, opened
from lossbench.data.encoded import EncodedRows
from lossbench.data.folder import FolderSplit, decode_some
from lossbench.data.prepared import ArraySplit
from lossbench.data.table_columns import Columns, find_columns, image_arrays, labels_of
from lossbench.errors import DataError

MEASURED = ("test", "validation", "valid", "val", "dev")
"""Splits that may be the test set; the first one with labels is it."""
MOST_SUBFOLDERS = 20
"""A folder with more holds classes, not configurations."""
HASHED_BYTES = 2**30
"""The content of larger tables is not hashed, but the names and sizes of their files."""
PARQUET_BYTES = 2**32
"""Larger ones do not fit in the memory of every worker, and cannot be mapped into it."""
ENCODED_BYTES, DECODED_BYTES = 2**28, 2**30
"""Images of one size stay decoded if they take no more, before and after."""

Files = dict[str, list[Path]]
"""Split -> its files, in order."""


def is_table_folder(folder: Path) -> bool:
    """Whether there are tables in a folder."""
    try:
        saved = ("dataset_dict.json", "state.json")
        return any((folder / name).is_file() for name in saved) or bool(_parquet_files(folder))
    except OSError:
        return False


def load_tables(folder: Path, *, verify: bool = True) -> Dataset:
    """Open a folder of tables.

    Args:
        folder: Of one of the forms above.
        verify: Decode images of different sizes, too: all, or 1,000 of a larger split.

    Raises:
        DataError: A file is missing or broken, or has no images or labels that can be read.
    """
    files, others = _chosen(folder, _files_of(folder))
    tables = {split: _read(paths) for split, paths in files.items()}
    columns = find_columns(folder, tables["train"].schema)
    for split, table in tables.items():
        lacking = [name for name in columns.names if name not in table.column_names]
        if lacking:
            raise DataError(f"{_where(files[split])}: has no column {lacking[0]}, as train has")
    labels: dict[str, NDArray[np.int64]] = {}
    classes: list[str] = []
    for split in ("train", *(name for name in files if name != "train")):
        where = _where(files[split])
        found, classes = labels_of(where, tables[split].column(columns.label), columns, classes)
        if split == "train" or (found >= 0).any():
            labels[split] = found
            if split != "train":
                break
    hidden = [name for name in files if name != "train" and name not in labels]
    measured = next((name for name in labels if name != "train"), None)
    for split, found in labels.items():
        _check_labels(_where(files[split]), found, classes, alike=split == "train")
    kept = {"train": "train"} | ({"test": measured} if measured else {})
    splits, smallest = _splits(
        {name: tables[split].column(columns.image) for name, split in kept.items()},
        {name: labels[split] for name, split in kept.items()},
        {name: _where(files[split]) for name, split in kept.items()},
        columns,
        verify,
    )
    used = {name: files[split] for name, split in kept.items()}
    images = [tables[split].column(columns.image) for split in kept.values()]
    digest, covers = _digest(used, images if columns.encoded else [])
    note = f"table with columns {columns.image}, {columns.label}; its digest covers {covers}"
    if measured not in (None, "test"):
        note += f"; {measured} is its test set"
        note += ", since the labels of test are held back" if "test" in hidden else ""
    card = Card(
        name=folder.absolute().name,
        num_classes=len(classes),
        class_names=classes,
        source=str(folder),
        note=note,
        sha256={"files": digest},
    )
    no_test = f"looked for {', '.join(MEASURED)}; found {', '.join(['train', *hidden, *others])}"
    return Dataset(card, splits, digest[:16], smallest, "" if measured else no_test)


def _files_of(folder: Path) -> Files:
    dictionary = folder / "dataset_dict.json"
    if dictionary.is_file():
        names = _json(dictionary).get("splits")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{dictionary}: splits should be a list of names")
        return {name: _arrow_files(folder / name) for name in names}
    if (folder / "state.json").is_file():
        return {"train": _arrow_files(folder)}
    files: Files = {}
    for path in _parquet_files(folder):
        files.setdefault(_split_of(path), []).append(path)
    if (size := sum(path.stat().st_size for own in files.values() for path in own)) > PARQUET_BYTES:
        raise DataError(
            f"{folder}: {size / 2**30:.1f} GiB of parquet are read whole by every worker; make "
            "arrow files of them, which are mapped: datasets.load_dataset(...).save_to_disk(...)"
        )
    return files


def _chosen(folder: Path, files: Files) -> tuple[Files, list[str]]:
    """Training set and those to measure on, the best first; the other splits' names."""
    if "train" not in files:
        found = ", ".join(sorted(files)) or "none"
        raise DataError(f"{folder}: has no split train; splits are {found}")
    chosen = {name: files[name] for name in ("train", *MEASURED) if name in files}
    return chosen, [name for name in files if name not in chosen]


def _arrow_files(folder: Path) -> list[Path]:
    state = _json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise DataError(f"{folder}: its rows are chosen by a second table; save it anew")
    try:
        files = [folder / Path(entry["filename"]).name for entry in state["_data_files"]]
    except (KeyError, TypeError):
        raise DataError(f"{folder / 'state.json'}: _data_files lists no files") from None
    for file in files:
        if not file.is_file():
            raise DataError(f"{file}: no such file, but state.json names it; is the folder whole?")
    if not files:
        raise DataError(f"{folder / 'state.json'}: _data_files lists no files")
    return files


def _parquet_files(folder: Path) -> list[Path]:
    """In the folder, or in one below it.

    Raises:
        DataError: There are several configurations.
    """
    here = sorted(folder.glob("[!.]*.parquet"))
    if here:
        return here
    below = [path for path in sorted(folder.glob("[!.]*")) if path.is_dir()]
    if len(below) > MOST_SUBFOLDERS:
        return []
    found = {path: files for path in below if (files := sorted(path.glob("[!.]*.parquet")))}
    of_splits = {path: files for path, files in found.items() if _is_split(path.name)}
    if not of_splits and len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{folder}: has several configurations ({names}); name the folder of one")
    return [file for files in (of_splits or found).values() for file in files]


def _is_split(name: str) -> bool:
    return name in ("train", *MEASURED)


def _split_of(path: Path) -> str:
    """By the name of the folder, or the start of the file's."""
    if _is_split(path.parent.name):
        return path.parent.name
    return re.split(r"[-_.]", path.stem)[0]


def _read(paths: list[Path]) -> Any:
    import pyarrow
    from pyarrow import parquet

    tables = []
    for path in paths:
        try:
            if path.suffix == ".parquet":
                tables.append(parquet.read_table(path))
            else:
                tables.append(pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all())
        except (pyarrow.ArrowException, OSError) as error:
            reason = str(error).partition("\n")[0][:200]
            raise DataError(f"{path}: is not a whole table: {reason}") from None
    try:
        table = pyarrow.concat_tables(tables)
    except pyarrow.ArrowException:
        raise DataError(f"{paths[0].parent}: its files have different columns") from None
    if not len(table):
        raise DataError(f"{_where(paths)}: has no rows")
    return table


def _where(paths: list[Path]) -> str:
    return str(paths[0] if len(paths) == 1 else paths[0].parent)


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; is the folder whole?") from None
    except ValueError:
        raise DataError(f"{path}: is no JSON") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: should be a mapping")
    return content


def _check_labels(
    where: str, labels: NDArray[np.int64], classes: list[str], *, alike: bool
) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(classes):
        known = f"there are {len(classes)} classes"
        raise DataError(f"{where}: labels go from {low} to {high}, but {known}")
    if alike and low == high:
        raise DataError(f"{where}: all images are of class {classes[low]}")


def _splits(
    images: Mapping[str, Any],
    labels: Mapping[str, NDArray[np.int64]],
    where: Mapping[str, str],
    columns: Columns,
    verify: bool,
) -> tuple[dict[str, Split], tuple[str, int] | None]:
    """The splits, and the smallest image that was looked at, where sizes differ."""
    if not columns.encoded:
        arrays = {name: image_arrays(where[name], column) for name, column in images.items()}
    else:
        files = {
            name: EncodedRows(_bytes_of(where[name], column), np.arange(len(column)), where[name])
            for name, column in images.items()
        }
        known = _one_size(files)
        if known is None:
            smallest = [decode_some(rows) for rows in files.values() if verify]
            mixed: dict[str, Split] = {
                name: FolderSplit(rows, labels[name]) for name, rows in files.items()
            }
            return mixed, min(smallest, key=lambda found: found[1], default=None)
        arrays = {name: _decoded(rows, known) for name, rows in files.items()}
    shapes = {name: array.shape[1:] for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(
            f"{where['test']}: images are {shapes['test']}, those of training {shapes['train']}"
        )
    return {name: ArraySplit(array, labels[name]) for name, array in arrays.items()}, None


def _bytes_of(where: str, column: Any) -> Any:
    """The column of files; a struct has their paths, too."""
    import pyarrow
    from pyarrow import compute

    if pyarrow.types.is_struct(column.type):
        column = compute.struct_field(column, "bytes")
    if column.null_count:
        raise DataError(
            f"{where}: {column.null_count} of {len(column)} images are not in the table, at most "
            "their paths; load and save it with `datasets`, which puts them in"
        )
    return column


@dataclass(frozen=True)
class _Size:
    height: int
    width: int
    channels: int


def _one_size(files: Mapping[str, EncodedRows]) -> _Size | None:
    """Of all images, if it is one, and they are few enough to be kept decoded."""
    if sum(rows.column.nbytes for rows in files.values()) > ENCODED_BYTES:
        return None
    sizes, grey, count = set(), True, 0
    for rows in files.values():
        for image in _rows(rows):
            try:
                with opened(image) as seen:
                    turned = may_be_turned(image)
                    side = decode(image).shape[:0:-1] if turned else seen.size
                    sizes.add(tuple(side))  # (W, H)
                    grey = grey and seen.mode == "L" and not seen.has_transparency_data
            except Exception:  # Pillow raises what its decoders happen to raise
                decode(image)  # says what is wrong with it
            if len(sizes) > 1:
                return None
        count += len(rows)
    [(width, height)] = sizes
    size = _Size(height, width, 1 if grey else 3)
    return size if count * height * width * size.channels <= DECODED_BYTES else None


def _decoded(rows: EncodedRows, size: _Size) -> NDArray[np.uint8]:
    """uint8 (N, H, W, C)"""
    images = np.empty((len(rows), size.height, size.width, size.channels), np.uint8)
    for index, image in enumerate(_rows(rows)):
        images[index] = decode(image)[: size.channels].permute(1, 2, 0)
    return images


def _has_turned(column: Any) -> bool:
    """Whether an image is turned, as in earlier results of the same files none was."""
    rows = EncodedRows(_bytes_of("", column), np.arange(len(column)), "")
    return any(is_turned(image) for image in _rows(rows))


def _rows(rows: EncodedRows) -> Iterator[Any]:
    return (rows[index] for index in range(len(rows)))


def _digest(files: Files, encoded: list[Any]) -> tuple[str, str]:
    """Hash of the files, and what it covers.

    Args:
        files: Those that are used.
        encoded: Their columns of image files, if that is what they have.
    """
    digest = hashlib.sha256()
    whole = sum(path.stat().st_size for own in files.values() for path in own) <= HASHED_BYTES
    for split, paths in files.items():
        for path in paths:
            digest.update(f"{split} {path.stat().st_size}\n".encode())
            if not whole:
                digest.update(f"{path.name}\n".encode())
                continue
            with path.open("rb") as file:
                while block := file.read(2**20):
                    digest.update(block)
    if whole and any(_has_turned(column) for column in encoded):
        digest.update(b"images are turned by their EXIF orientation\n")
    return digest.hexdigest(), "the files" if whole else "the names and sizes of the files"
