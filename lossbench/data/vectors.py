"""Precomputed embeddings, for a fast comparison of heads without a backbone.

    train_features.npy  float32 (N, D)     test_features.npy
    train_labels.npy    int64 (N,)         test_labels.npy

`val_` (or validation_, valid_, dev_) are the validation set for `selection`, or the test set
without test_. Alternatively `features.npy` and `labels.npy`, of which 20 % of each class are the
test set, always the same. `dataset.json` is optional: class_names, num_classes, and sha256 of
arrays, which saves workers from reading every byte.

In a training, a vector is an image of D channels and one pixel, without scaling.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from lossbench.data.dataset import Card, Dataset, Split
from lossbench.data.images import ArrayImages, Images, View
from lossbench.data.prepared import ArraySplit, array_digest, joined_digest, read_array, read_card
from lossbench.data.sampling import draw_loses_class, split_off
from lossbench.data.split_names import VALIDATION, describe_array_splits, find_array_splits
from lossbench.errors import DataError

TEST_SHARE = 0.2
"""Share of the vectors in the test set, if the folder has no split."""
MAX_CHECKED_ROWS = 100_000
"""Number of vectors at a time that are checked for numbers that are not finite."""


class VectorCard(Card):
    """Content of `dataset.json` for embeddings; all keys are optional."""

    name: str = ""
    num_classes: int | None = Field(default=None, ge=2)  # type: ignore[assignment]
    class_names: list[str] = Field(default=[])
    source: str = ""
    sha256: dict[str, str] = Field(default={})


@dataclass(frozen=True)
class VectorSplit(ArraySplit):
    """Split of vectors as images of one pixel, float32 (N, 1, 1, D)."""

    def to_device(self, device: torch.device, view: View) -> Images:
        vectors, labels = torch.from_numpy(self.images), torch.from_numpy(self.labels)
        return Vectors(vectors.to(device), labels.to(device))


@dataclass(frozen=True)
class Vectors(ArrayImages):
    """Vectors stored on the device of the training."""

    are_pixels: ClassVar[bool] = False


def load_vectors(folder: Path, *, verify: bool = True, validation: bool = False) -> Dataset:
    """Open a folder of embeddings.

    Args:
        folder: Folder of one of the forms above.
        verify: Whether to check every number, and the digests in `dataset.json`.
        validation: Whether to read the validation set, too, if there is one next to a test set.

    Raises:
        DataError: A file is missing, or shapes, types, numbers, labels or digests do not fit.
    """
    written = VectorCard()
    if (folder / "dataset.json").exists():
        written = read_card(folder / "dataset.json", VectorCard)
    split_here = not (folder / "train_features.npy").exists()
    parts, unused = find_array_splits(folder, "features")
    if split_here:
        unused = [name for name in (*parts.values(), *unused) if name in VALIDATION]
    read = {split: part for split, part in parts.items() if split != "validation" or validation}
    prefixes = [""] if split_here else [f"{part}_" for part in read.values()]
    if split_here and (folder / "test_features.npy").exists():
        raise DataError(f"{folder}: has test_features.npy, but no train_features.npy")
    arrays = {
        f"{prefix}{kind}": read_array(folder / f"{prefix}{kind}.npy")
        for prefix in prefixes
        for kind in ("features", "labels")
    }
    for prefix in prefixes:
        _check_pair(folder, prefix, arrays[f"{prefix}features"], arrays[f"{prefix}labels"], verify)
    sizes = {prefix: arrays[f"{prefix}features"].shape[1] for prefix in prefixes}
    for prefix, size in sizes.items():
        if size != sizes[prefixes[0]]:
            message = f"vectors have {size} numbers, those of training {sizes[prefixes[0]]}"
            raise DataError(f"{folder / f'{prefix}features.npy'}: {message}")
    classes = _classes(folder, written, arrays)
    digests = {
        name: _digest(folder, name, array, written, verify) for name, array in arrays.items()
    }
    splits: dict[str, Split] = {}
    note = written.note
    if split_here:
        labels: NDArray[np.int64] = arrays["labels"]  # type: ignore[assignment]
        try:
            rest, off = split_off(labels, TEST_SHARE, classes)
        except ValueError as error:
            message = str(error).replace("image", "vector")
            raise DataError(f"{folder / 'labels.npy'}: {message}; give train_ and test_") from None
        for name, chosen in (("train", rest), ("test", off)):
            splits[name] = _split(arrays["features"][chosen], labels[chosen])
        own = f"no split of its own: {len(rest):,} train, {len(off):,} test, the same share of each"
        note = f"{note}; {own} class" if note else f"{own} class"
    else:
        for name, part in read.items():
            splits[name] = _split(arrays[f"{part}_features"], arrays[f"{part}_labels"])
    card = Card(
        name=written.name or folder.absolute().name,
        num_classes=len(classes),
        class_names=classes,
        source=written.source or str(folder),
        note=note,
        sha256=digests,
    )
    validating = f"{read['validation']}_" if "validation" in read and not split_here else None
    of_validation = {n: d for n, d in digests.items() if validating and n.startswith(validating)}
    others = {n: d for n, d in digests.items() if n not in of_validation}
    of_split = [*others, *others.values()]  # the digest covers the names of the splits, too
    if split_here and draw_loses_class(labels, len(off), in_rest=True):
        of_split.append("one vector of each class or more")
    digest = joined_digest(of_split)
    with_validation = ""
    if of_validation:
        with_validation = joined_digest([digest, *of_validation, *of_validation.values()])
    counts = {name: len(split.labels) for name, split in splits.items()}
    notes = describe_array_splits({} if split_here else parts, unused, "features", counts)
    return Dataset(
        card,
        splits,
        digest,
        vectors=True,
        notes=tuple(notes),
        validation_digest=with_validation,
    )


def _split(features: NDArray[np.generic], labels: NDArray[np.generic]) -> VectorSplit:
    return VectorSplit(features[:, None, None, :], labels)  # type: ignore[arg-type]


def _check_pair(
    folder: Path,
    prefix: str,
    features: NDArray[np.generic],
    labels: NDArray[np.generic],
    verify: bool,
) -> None:
    path = folder / f"{prefix}features.npy"
    if features.dtype != np.float32 or features.ndim != 2:
        raise DataError(f"{path}: should be float32 (N, D), not {features.dtype} {features.shape}")
    if not features.size:
        raise DataError(f"{path}: is empty")
    if labels.dtype != np.int64 or labels.ndim != 1:
        raise DataError(
            f"{folder / f'{prefix}labels.npy'}: should be int64 (N,), not {labels.dtype} "
            f"{labels.shape}"
        )
    if len(labels) != len(features):
        raise DataError(
            f"{folder / f'{prefix}labels.npy'}: {len(labels)} labels for {len(features)} vectors"
        )
    for at in range(0, len(features) if verify else 0, MAX_CHECKED_ROWS):
        finite = np.isfinite(features[at : at + MAX_CHECKED_ROWS]).all(1)
        if not finite.all():
            row = at + int(np.argmin(finite))
            raise DataError(f"{path}: row {row} has a number that is not finite")


def _classes(folder: Path, card: VectorCard, arrays: dict[str, NDArray[np.generic]]) -> list[str]:
    """Class names; checks that every label is a class.

    Raises:
        DataError: A label is not a class, or class names do not fit.
    """
    names = card.class_names
    if names and card.num_classes not in (None, len(names)):
        raise DataError(
            f"{folder / 'dataset.json'}: class_names has {len(names)} names, num_classes is "
            f"{card.num_classes}"
        )
    train = "train_labels" if "train_labels" in arrays else "labels"
    found = len(np.unique(arrays[train]))
    if found < 2:
        raise DataError(f"{folder / f'{train}.npy'}: all vectors are of one class")
    known = len(names) or card.num_classes or int(arrays[train].max()) + 1
    for name, labels in arrays.items():
        if not name.endswith("labels"):
            continue
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= known:
            by = "dataset.json" if card.num_classes or names else train
            raise DataError(
                f"{folder / f'{name}.npy'}: labels go from {low} to {high}, but {by} has "
                f"{known} classes"
            )
    if found < known and not (names or card.num_classes):
        raise DataError(
            f"{folder / f'{train}.npy'}: labels go up to {known - 1}, but only {found} are there; "
            "number the classes from 0, or set num_classes in dataset.json"
        )
    return names or [str(k) for k in range(known)]


def _digest(
    folder: Path, name: str, array: NDArray[np.generic], card: VectorCard, verify: bool
) -> str:
    known = card.sha256.get(name)
    if known is not None and not verify:
        return known
    found = array_digest(array)
    if known not in (None, found):
        raise DataError(
            f"{folder / f'{name}.npy'}: its sha256 is {found[:12]}..., but dataset.json says "
            f"{str(known)[:12]}...; the file was changed or is incomplete"
        )
    return found
