"""Loading of data sets by the name that a suite gives them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from lossbench.data.dataset import Card, Dataset
from lossbench.data.folder_forms import is_image_folder, is_vector_folder
from lossbench.data.image_folder import explain_no_image_folder, load_image_folder
from lossbench.data.prepared import (
    Arrays,
    joined_digest,
    load_prepared,
    make_dataset,
    save_prepared,
)
from lossbench.data.sources import DATASETS, by_hand_error, own_folders
from lossbench.data.table_files import is_table_folder
from lossbench.data.tables import load_tables
from lossbench.data.vectors import load_vectors
from lossbench.errors import DataError, MissingDataError, UnknownNameError
from lossbench.registry import user_path
from lossbench.suite.cache import cache_folder


def find_folder(name: str, data_root: Path) -> Path | None:
    """Folder of a suite's `dataset`; None for a bundled data set.

    Args:
        name: Known name, folder in `data_root`, or path.
        data_root: Folder of the prepared data sets.

    Raises:
        MissingDataError: A known data set has not been prepared yet.
        UnknownNameError: The name is neither known nor a folder in `data_root`.
    """
    if "/" in name or name.startswith("."):
        return user_path(name).absolute()
    folder = data_root / name
    if (folder / "dataset.json").exists():
        return folder
    if name not in DATASETS:
        if folder.is_dir():
            return folder
        if DATASETS.library_of(name):
            DATASETS[name]  # raises an error with the reason, or the nearest names
        own = [found.name for found in own_folders(data_root)]
        nowhere = (
            "" if data_root.is_dir() else f"; --data-root {data_root.absolute()}: no such folder"
        )
        known = {*DATASETS, *own, *(f"{each.prefix}.NAME" for each in DATASETS.libraries)}
        raise UnknownNameError("data set", name, known, nowhere)
    source = DATASETS[name].create()
    if source.bundled:
        return None
    if source.fetch is None and folder.is_dir():
        return folder
    if not source.is_written:
        raise by_hand_error(name, source, folder)
    raise MissingDataError(
        f"data set {name!r} is not in {data_root.absolute()}; run `lossbench data prepare {name} "
        f"--data-root {data_root}`, or name the folder that has it with --data-root"
    )


def explain_missing(name: str, data_root: Path) -> str:
    """Message on a data set that is not on this machine, and how to get it; empty if it is.

    Raises:
        UnknownNameError: As for `find_folder`.
    """
    try:
        folder = find_folder(name, data_root)
    except MissingDataError as error:
        return str(error)
    if folder is None:
        derived_from = DATASETS[name].create().derived_from
        return explain_missing(derived_from, data_root) if derived_from else ""
    return "" if folder.exists() else f"{folder}: no such folder; the suite names it as its data"


@dataclass
class _OpenDataset:
    """Slot for a data set that stays open.

    Attributes:
        dataset: The data set; None until it was opened without an error.
        verified: Whether its content was checked when it was opened.
    """

    dataset: Dataset | None = None
    verified: bool = False


MAX_OPEN = 32
"""Number of data sets that stay open. Arrays are read from their files only when they are used, so
this takes little memory; with fewer, a table with columns on many data sets would read them again
and again."""


@functools.lru_cache(maxsize=MAX_OPEN)
def _cached_slot(
    name: str, data_root: Path, validation: bool, missing_test_classes: bool
) -> _OpenDataset:
    return _OpenDataset()


def load_dataset(
    name: str,
    data_root: Path,
    *,
    verify: bool = True,
    validation: bool = False,
    missing_test_classes: bool = False,
) -> Dataset:
    """Open a data set by the name that a suite gives it; the last ones stay open.

    Args:
        name: A known name, a folder in `data_root`, or a path.
        data_root: Folder of the prepared data sets.
        verify: Whether the content is checked, as described in `load_prepared`. A data set that
            is open and was checked is not opened again for either value.
        validation: Whether to read the validation set, too, if there is one next to a test set.
        missing_test_classes: Whether an image folder may have classes without test images.

    Raises:
        DataError, UnknownNameError: As for `find_folder` and `load_prepared`.
    """
    kept = _cached_slot(name, data_root, validation, missing_test_classes)
    if kept.dataset is None or (verify and not kept.verified):
        found = _load(name, data_root, verify, validation, missing_test_classes)
        kept.dataset = replace(found, data_root=data_root)
        kept.verified = verify
    return kept.dataset


def close_datasets() -> None:
    """Close the open data sets, so that `load_dataset` reads them again."""
    _cached_slot.cache_clear()


def _load(
    name: str, data_root: Path, verify: bool, validation: bool, missing_test_classes: bool
) -> Dataset:
    folder = find_folder(name, data_root)
    if folder is not None:
        if is_vector_folder(folder):
            return load_vectors(folder, verify=verify, validation=validation)
        if (folder / "dataset.json").exists():
            return load_prepared(folder, verify=verify, validation=validation)
        if is_table_folder(folder):
            return load_tables(folder, verify=verify, validation=validation)
        if is_image_folder(folder):
            return load_image_folder(
                folder,
                verify=verify,
                validation=validation,
                missing_test_classes=missing_test_classes,
            )
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        raise DataError(
            f"{folder}: not a data set; it has neither dataset.json nor features.npy, nor tables, "
            f"nor images in folders of classes"
            f"{explain_no_image_folder(folder)}"
        )
    source = DATASETS[name].create()
    assert source.fetch is not None
    if source.derived_from:
        return make_dataset(*source.fetch(data_root))
    return _bundled(name, source.fetch, data_root)


def _bundled(name: str, fetch: Callable[[Path], tuple[Arrays, Card]], data_root: Path) -> Dataset:
    """Load a bundled data set from a cached copy, or create the copy.

    The copy saves each process seconds for the import of the library that contains the data.
    """
    kept = cache_folder() / f"{name}-{version('scikit-learn')}"
    with contextlib.suppress(DataError):  # no copy, or a broken one
        dataset = load_prepared(kept)
        return replace(dataset, digest=joined_digest(dataset.card.sha256.values()))
    arrays, card = fetch(data_root)
    with contextlib.suppress(OSError):  # no space, or a broken copy in the way
        save_prepared(kept, arrays, card)
    return make_dataset(arrays, card)
