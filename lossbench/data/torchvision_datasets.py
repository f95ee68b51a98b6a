"""Classification data sets of torchvision, available as `torchvision.NAME`.

`NAME` is the name of the class, with the value of an option after a dot where there are several
forms: `torchvision.FashionMNIST`, `torchvision.EMNIST.letters`. Images of one size become arrays,
others an image folder. Classes are named as in torchvision; a fifth of each class of data sets
without an official split is the test set.
"""

from __future__ import annotations

import functools
import inspect
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lossbench.data.source import Source
from lossbench.data.torchvision_catalogue import CATALOGUE, REFERENCE, LibraryDataset
from lossbench.errors import DataError
from lossbench.registry import Entry, parameters_model

if TYPE_CHECKING:
    from lossbench.data.dataset import Card
    from lossbench.data.prepared import Arrays

TEST_SHARE = 0.2
"""Share of each class in the test set of data sets without an official split."""


def torchvision_entry(name: str) -> Entry[Source]:
    """Registry entry of a data set.

    Args:
        name: Name in the catalogue.
    """
    own = CATALOGUE[name]

    def source() -> Source:
        made = functools.partial
        return Source(
            own.description,
            fetch=None if own.is_folder else made(fetch_arrays, name),
            write_folder=made(write_image_folder, name) if own.is_folder else None,
            files=own.files,
            by_hand=bool(own.files),
            note=_note(own),
        )

    return _entry(name, source, own.reference)


def placeholder_entry() -> Entry[Source]:
    """Registry entry that represents all data sets of torchvision in a list."""

    def source() -> Source:
        """Any classification data set of torchvision."""
        raise NotImplementedError

    return _entry("NAME", source, REFERENCE)


def _entry(name: str, source: Any, reference: str) -> Entry[Source]:
    full_name = f"torchvision.{name}"
    parameters = parameters_model(full_name, {})
    return Entry("data set", full_name, source, reference, parameters, distribution="torchvision")


def fetch_arrays(name: str, downloads: Path) -> tuple[Arrays, Card]:
    """Arrays of a data set and their card.

    Args:
        name: Name in the catalogue.
        downloads: Download folder.

    Raises:
        DataError: Images have no label or differ in size.
    """
    from lossbench.data.prepared import make_card  # imports torch

    own = CATALOGUE[name]
    images: dict[str, NDArray[np.uint8]] = {}
    labels: dict[str, NDArray[np.int64]] = {}
    names: dict[int, str] = {}
    for part, data in _open_parts(own, downloads).items():
        images[part], labels[part] = _read(name, data)
        names |= _class_names(data, labels[part])
    if "all" in labels:
        for part, chosen in divide(labels["all"]).items():
            images[part], labels[part] = images["all"][chosen], labels["all"][chosen]
        del images["all"], labels["all"]
    used = sorted(names)
    arrays: Arrays = {f"{part}_images": pixels for part, pixels in images.items()}
    # from the numbers of the library, which need not start at 0, to those of the classes
    arrays |= {f"{part}_labels": np.searchsorted(used, own) for part, own in labels.items()}
    classes = [names[label] for label in used]
    source = f"torchvision.datasets.{own.kind}"
    return arrays, make_card(f"torchvision.{name}", classes, source, _note(own), arrays)


def write_image_folder(name: str, downloads: Path, folder: Path) -> None:
    """Write an image folder; files of the download folder are linked, not copied, if possible.

    Args:
        name: Name in the catalogue.
        downloads: Download folder.
        folder: Existing folder to write to.
    """
    for part, data in _open_parts(CATALOGUE[name], downloads).items():
        items = list(_items(name, data))
        labels = np.array([label for _, label in items])
        names = _class_names(data, labels)
        chosen = divide(labels) if part == "all" else {part: np.arange(len(items))}
        for written, indices in chosen.items():
            for label in set(labels[indices].tolist()):
                (folder / written / _folder_name(names[label])).mkdir(parents=True)
            for index in indices.tolist():
                path, label = items[index]
                target = folder / written / _folder_name(names[label]) / f"{index:07}"
                if path is None:  # torchvision has decoded it
                    data[index][0].save(target.with_suffix(".png"))
                else:
                    _link(path, target.with_suffix(path.suffix.lower()))


def divide(labels: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Indices of the training set and the test set of a data set without an official split.

    A fifth of each class, at least one image, is in the test set; it is drawn with seed 0.

    Args:
        labels: (N,)

    Raises:
        DataError: A class has only one image.
    """
    random = np.random.default_rng(0)
    parts: dict[str, list[int]] = {"train": [], "test": []}
    for label in np.unique(labels):
        own = random.permutation(np.flatnonzero(labels == label))
        count = max(round(TEST_SHARE * len(own)), 1)
        if len(own) < 2:
            raise DataError(f"class {label} has only one image, too few for a test set")
        parts["test"] += own[:count].tolist()
        parts["train"] += own[count:].tolist()
    return {part: np.sort(np.array(indices)) for part, indices in parts.items()}


def _open_parts(own: LibraryDataset, downloads: Path) -> dict[str, Any]:
    """Part -> data set of torchvision."""
    from lossbench.data.torchvision import torchvision

    kind = getattr(torchvision.datasets, own.kind)
    options: dict[str, Any] = dict(own.options)
    if not own.files:
        options["download"] = True
    if own.is_folder and "loader" in inspect.signature(kind).parameters:
        options["loader"] = Path  # the path instead of a decoded image
    return {part: kind(downloads, **options, **chosen) for part, chosen in own.parts.items()}


def _items(name: str, data: Any) -> Iterator[tuple[Path | None, int]]:
    """Path, or None for a decoded image, and label of each item."""
    for index in range(len(data)):
        image, label = data[index]
        # an image that Pillow has opened, but not decoded or converted, has a file name
        path = image if isinstance(image, Path) else getattr(image, "filename", None)
        yield Path(path) if path else None, _label(name, index, label)


def _label(name: str, index: int, label: Any) -> int:
    if label is None:
        raise DataError(f"torchvision.{name}: image {index} has no label in these files")
    return int(label)


def _read(name: str, data: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, H, W, C) and labels (N,) of a data set of torchvision."""
    first = np.asarray(data[0][0], dtype=np.uint8)
    shape = first.shape if first.ndim == 3 else (*first.shape, 1)
    images = np.empty((len(data), *shape), dtype=np.uint8)
    labels = np.empty(len(data), dtype=np.int64)
    for index in range(len(data)):
        image, label = data[index]
        pixels = np.asarray(image, dtype=np.uint8)
        if pixels.shape[:2] != shape[:2]:
            raise DataError(f"torchvision.{name}: image {index} has another size than the first")
        images[index] = pixels.reshape(shape)
        labels[index] = _label(name, index, label)
    return images, labels


def _class_names(data: Any, labels: NDArray[np.int64]) -> dict[int, str]:
    """Label -> name of its class; the number, if torchvision names no classes."""
    listed = getattr(data, "classes", None) or getattr(data, "categories", None)
    used = np.unique(labels).tolist()
    width = len(str(max(used)))
    found: dict[int, str] = {}
    for label in used:
        known = listed[label] if listed else f"{label:0{width}}"
        found[label] = known if isinstance(known, str) else known[0]  # a tuple of synonyms
    return found


def _folder_name(name: str) -> str:
    """Name of a class's folder: `F-16A-B` for `F-16A/B`."""
    return name.strip().replace("/", "-").lstrip(".")


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(path, target)


def _note(own: LibraryDataset) -> str:
    note = f"made from the files of torchvision.datasets.{own.kind}, not verified here"
    if "all" in own.parts:
        note += "; no official split: a fifth of each class, drawn with seed 0, is the test set"
    return note
