"""Data sets of the Hugging Face hub on disk: tables with an image and a label column.

    dataset_dict.json, train/state.json, train/data-*.arrow, test/...    (DatasetDict.save_to_disk)
    state.json, data-*.arrow                     (Dataset.save_to_disk; training images only)
    data/train-00000-of-00001.parquet, data/test-*.parquet               (as the hub has them)

Only pyarrow is required. Without a test set, or if its labels are withheld (-1), the validation
set is the test set; otherwise it is used by `selection`. Images of the same size become arrays,
with one channel if they are grey; others are decoded on demand, like those of an image folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossbench.data.content_digest import (
    SAMPLED,
    HashedFile,
    cached_digest,
    file_state,
    is_hashed_whole,
    sample_bytes,
)
from lossbench.data.dataset import Card, Dataset, Split
from lossbench.data.decoding import decode, is_rotated, may_be_rotated, opened
from lossbench.data.encoded_images import EncodedImages
from lossbench.data.image_files import (
    ImageFileSplit,
    InspectedImages,
    common_size,
    first_size,
    inspect_images,
    warn_of_dark_levels,
)
from lossbench.data.prepared import ArraySplit, joined_digest
from lossbench.data.split_names import MEASURED, TEST, VALIDATION, assign_splits, describe_splits
from lossbench.data.table_columns import Columns, find_columns, image_arrays, labels_of
from lossbench.data.table_files import SplitFiles, choose_split_files, find_split_files, table_name
from lossbench.errors import DataError

ENCODED_BYTES, DECODED_BYTES = 2**28, 2**30
"""Largest sizes before and after decoding at which images of the same size stay decoded."""


def load_tables(folder: Path, *, verify: bool = True, validation: bool = False) -> Dataset:
    """Open a folder of tables.

    Args:
        folder: Folder of one of the forms above.
        verify: Whether to decode images of different sizes, too: all, or 1,000 of a larger split.
        validation: Whether to read the validation set, too, if there is one next to a test set.

    Raises:
        DataError: A file is missing or broken, or has no readable images or labels.
    """
    files, others = choose_split_files(folder, find_split_files(folder))
    tables = {split: _read(paths) for split, paths in files.items()}
    columns = find_columns(folder, tables["train"].schema)
    for split, table in tables.items():
        lacking = [name for name in columns.names if name not in table.column_names]
        if lacking:
            raise DataError(f"{table_name(files[split])}: has no column {lacking[0]}, as train has")
    labels, classes = _labels(files, tables, columns, measured=2 if validation else 1)
    kept = assign_splits({split: split for split in labels})
    for name, split in kept.items():
        _check_labels(table_name(files[split]), labels[split], classes, alike=name == "train")
    splits, inspected = _splits(
        {name: tables[split].column(columns.image) for name, split in kept.items()},
        {name: labels[split] for name, split in kept.items()},
        {name: table_name(files[split]) for name, split in kept.items()},
        columns,
        verify,
    )

    def digest_of(splits: Iterable[str]) -> tuple[str, str]:
        images = [tables[split].column(columns.image) for split in splits]
        return _digest({s: files[s] for s in splits}, images if columns.encoded else [])

    digest, covers = digest_of([split for name, split in kept.items() if name != "validation"])
    with_validation = ""
    if "validation" in kept:
        with_validation = joined_digest([digest, digest_of([kept["validation"]])[0]])
    size, seen = None, ""
    if isinstance(train := splits["train"], ImageFileSplit):
        size, seen = common_size(inspected) if verify else (first_size(train.paths), "")
    card = Card(
        name=folder.absolute().name,
        num_classes=len(classes),
        class_names=classes,
        source=str(folder),
        note=f"table with columns {columns.image}, {columns.label}; its digest covers {covers}",
        sha256={"files": digest},
    )
    unread = [name for name in files if name not in labels]
    no_test = f"looked for {', '.join(MEASURED)}; found {', '.join(['train', *unread, *others])}"
    return Dataset(
        card,
        splits,
        digest[:16],
        _smallest(inspected, splits),
        "" if "test" in kept else no_test,
        notes=(
            *_notes(kept, labels, unread, others),
            *([f"the digest covers {covers}"] if covers == SAMPLED else []),
        ),
        validation_digest=with_validation,
        warnings=warn_of_dark_levels(inspected),
        common_size=size,
        sizes_seen=seen,
    )


def _labels(
    files: SplitFiles, tables: Mapping[str, Any], columns: Columns, measured: int
) -> tuple[dict[str, NDArray[np.int64]], list[str]]:
    """Labels of the training set and of the first splits to measure on; and class names."""
    labels: dict[str, NDArray[np.int64]] = {}
    classes: list[str] = []
    for split in files:
        if len(labels) <= measured:
            column = tables[split].column(columns.label)
            found, classes = labels_of(table_name(files[split]), column, columns, classes)
            if split == "train" or (found >= 0).any():
                labels[split] = found
    return labels, classes


def _notes(
    kept: Mapping[str, str],
    labels: Mapping[str, NDArray[np.int64]],
    unread: list[str],
    others: list[str],
) -> list[str]:
    """Lines on the use of the splits."""

    def describe(split: str | None) -> str | None:
        if split is None or split not in labels:
            return split
        return f"{split} ({len(labels[split]):,} images)"

    held_back = TEST in unread and "test" in kept
    unread = [name for name in unread if name != TEST or not held_back]
    validation = kept.get("validation")
    if validation is None and kept.get("test") == TEST:
        validation = next((name for name in VALIDATION if name in unread), None)
    return describe_splits(
        describe(kept.get("test")),
        describe(validation),
        [name for name in [*unread, *others] if name != validation],
        selects="validation" in kept,
        why="the labels of test are withheld" if held_back else "there is no other",
    )


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
            raise DataError(f"{path}: is not a complete table: {reason}") from None
    try:
        table = pyarrow.concat_tables(tables)
    except pyarrow.ArrowException:
        raise DataError(f"{paths[0].parent}: its files have different columns") from None
    if not len(table):
        raise DataError(f"{table_name(paths)}: has no rows")
    return table


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
) -> tuple[dict[str, Split], list[InspectedImages]]:
    """Splits, and results of the inspection of their image files."""
    inspected: list[InspectedImages] = []
    if not columns.encoded:
        arrays = {name: image_arrays(where[name], column) for name, column in images.items()}
    else:
        files = {
            name: EncodedImages(_bytes_of(where[name], column), np.arange(len(column)), where[name])
            for name, column in images.items()
        }
        # the form of the other splits does not depend on the use of a validation set
        inspected = [inspect_images(rows) for rows in files.values() if verify]
        known = _one_size({name: rows for name, rows in files.items() if name != "validation"})
        if known is None:
            mixed: dict[str, Split] = {
                name: ImageFileSplit(rows, labels[name]) for name, rows in files.items()
            }
            return mixed, inspected
        if "validation" in files and _one_size({"validation": files["validation"]}) != known:
            raise DataError(
                f"{where['validation']}: its images are not all {known} like those of training and "
                "test; to select without them, set selection.holdout to a share"
            )
        arrays = {name: _decoded(rows, known) for name, rows in files.items()}
    shapes = {name: array.shape[1:] for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        other = next(name for name, shape in shapes.items() if shape != shapes["train"])
        raise DataError(
            f"{where[other]}: images are {shapes[other]}, those of training {shapes['train']}"
            + (
                "; to select without them, set selection.holdout to a share"
                * (other == "validation")
            )
        )
    return {name: ArraySplit(array, labels[name]) for name, array in arrays.items()}, inspected


def _smallest(
    inspected: list[InspectedImages], splits: Mapping[str, Split]
) -> tuple[str, int] | None:
    """File and shorter side of the smallest inspected image, if sizes may differ."""
    if not isinstance(splits["train"], ImageFileSplit):
        return None
    return min((part.smallest for part in inspected), key=lambda file: file[1], default=None)


def _bytes_of(where: str, column: Any) -> Any:
    """Column of image files; in a struct with their paths, it is the field `bytes`."""
    import pyarrow
    from pyarrow import compute

    if pyarrow.types.is_struct(column.type):
        column = compute.struct_field(column, "bytes")
    if column.null_count:
        raise DataError(
            f"{where}: {column.null_count} of {len(column)} images are not in the table, only "
            "their paths if any; load and save it with `datasets`, which embeds them"
        )
    return column


@dataclass(frozen=True)
class _Size:
    height: int
    width: int
    channels: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width} with {'1 channel' if self.channels == 1 else 'colours'}"


def _one_size(files: Mapping[str, EncodedImages]) -> _Size | None:
    """Size of all images, if it is the same and they are few enough to stay decoded."""
    if sum(rows.column.nbytes for rows in files.values()) > ENCODED_BYTES:
        return None
    sizes, grey, count = set(), True, 0
    for rows in files.values():
        for image in _rows(rows):
            try:
                with opened(image) as seen:
                    rotated = may_be_rotated(image)
                    side = decode(image).shape[:0:-1] if rotated else seen.size
                    sizes.add(tuple(side))  # (W, H)
                    grey = grey and seen.mode == "L" and not seen.has_transparency_data
            except Exception:  # Pillow's decoders raise various types
                decode(image)  # raises the DataError
            if len(sizes) > 1:
                return None
        count += len(rows)
    [(width, height)] = sizes
    size = _Size(height, width, 1 if grey else 3)
    return size if count * height * width * size.channels <= DECODED_BYTES else None


def _decoded(rows: EncodedImages, size: _Size) -> NDArray[np.uint8]:
    """Decoded images, uint8 (N, H, W, C)."""
    images = np.empty((len(rows), size.height, size.width, size.channels), np.uint8)
    for index, image in enumerate(_rows(rows)):
        images[index] = decode(image)[: size.channels].permute(1, 2, 0)
    return images


def _has_rotated(column: Any) -> bool:
    """Whether an image is rotated; earlier versions did not, so the digest has to differ."""
    rows = EncodedImages(_bytes_of("", column), np.arange(len(column)), "")
    return any(is_rotated(image) for image in _rows(rows))


def _rows(rows: EncodedImages) -> Iterator[Any]:
    return (rows[index] for index in range(len(rows)))


def _digest(files: SplitFiles, encoded: list[Any]) -> tuple[str, str]:
    """Digest of the files of some splits, and a description of what it covers.

    Args:
        files: Split -> its files.
        encoded: Their columns of image files; empty if images are lists of numbers.
    """
    listed = [
        HashedFile(f"{split} {path.name}", str(path), file_state(path.stat()))
        for split, paths in files.items()
        for path in paths
    ]
    whole = is_hashed_whole(listed)

    def compute() -> str:
        digest = hashlib.sha256()
        for file in listed:
            split = file.name.partition(" ")[0]
            digest.update(f"{split} {file.state.size}\n".encode())
            if not whole:
                name = Path(file.path).name
                digest.update(f"{name}\n".encode() + sample_bytes(file.path, file.state.size))
                continue
            with open(file.path, "rb") as content:
                while block := content.read(2**20):
                    digest.update(block)
        if whole and any(_has_rotated(column) for column in encoded):
            digest.update(b"images are turned by their EXIF orientation\n")
        return digest.hexdigest()

    return cached_digest("table", listed, compute), "every byte" if whole else SAMPLED
