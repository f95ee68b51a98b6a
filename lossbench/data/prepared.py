"""A prepared data set: a folder of arrays that its `dataset.json` describes.

    train_images.npy  uint8 (N, H, W, C)     test_images.npy
    train_labels.npy  int64 (N,)             test_labels.npy
    dataset.json      name, num_classes, class_names, source, note, sha256 of each array

`val_images.npy` and `val_labels.npy` (or validation_, valid_, dev_) are the validation set for
`selection`, or the test set without test_. Any folder of this form is a data set. The arrays are
memory-mapped, so that the workers of one machine share them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from lossbench.data.dataset import Card, Dataset, Split
from lossbench.data.images import ArrayImages, Images, View
from lossbench.data.split_names import describe_array_splits, find_array_splits
from lossbench.errors import DataError, validation_problems
from lossbench.planning.trial import short_digest
from lossbench.suite.atomic_files import atomic_path

Arrays = dict[str, NDArray[np.generic]]
AnyCard = TypeVar("AnyCard", bound=Card)
ARRAY_NAMES = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class ArraySplit:
    """Split of images of the same size.

    Attributes:
        images: uint8 (N, H, W, C)
        labels: int64 (N,), in [0, K).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of each image."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    def subset(self, indices: NDArray[np.int64]) -> ArraySplit:
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def relabelled(self, labels: NDArray[np.int64]) -> ArraySplit:
        return replace(self, labels=labels)

    def to_device(self, device: torch.device, view: View) -> Images:
        """Images on a device; on the CPU, memory-mapped arrays stay mapped."""
        return ArrayImages(
            torch.from_numpy(self.images).to(device), torch.from_numpy(self.labels).to(device), view
        )


def array_digest(array: NDArray[np.generic]) -> str:
    """SHA-256 of the bytes of an array in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def make_card(name: str, classes: list[str], source: str, note: str, arrays: Arrays) -> Card:
    """Create a card with the digests of arrays.

    Args:
        name: Name of the data set.
        classes: Class names in the order of the labels.
        source: Source of the data set.
        note: Note on its content.
        arrays: Arrays by name.
    """
    return Card(
        name=name,
        num_classes=len(classes),
        class_names=classes,
        source=source,
        note=note,
        sha256={key: array_digest(array) for key, array in arrays.items()},
    )


def make_dataset(arrays: Mapping[str, NDArray[np.generic]], card: Card) -> Dataset:
    """Create a data set from arrays that are known to fit their card."""
    splits: dict[str, Split] = {
        split: ArraySplit(arrays[f"{split}_images"], arrays[f"{split}_labels"])  # type: ignore[arg-type]
        for split in ("train", "test")
        if f"{split}_images" in arrays
    }
    return Dataset(card, splits, joined_digest(card.sha256[name] for name in arrays))


def joined_digest(digests: Iterable[str]) -> str:
    """Short digest of several digests, in their order."""
    return short_digest("\n".join(digests))


def load_prepared(folder: Path, *, verify: bool = True, validation: bool = False) -> Dataset:
    """Open a prepared folder.

    Args:
        folder: Folder of the form above.
        verify: Whether to read every byte and compare it with the digests in `dataset.json`.
        validation: Whether to read the validation set, too, if there is one next to a test set.

    Raises:
        DataError: A file is missing, or shapes, types, labels or digests do not fit.
    """
    card = read_card(folder / "dataset.json", Card)
    if (folder / "images.npy").exists() and not (folder / "train_images.npy").exists():
        raise DataError(
            f"{folder}: has faces for `verification`, not images of classes to train and test on; "
            "use lfw_within for that"
        )
    parts, unused = find_array_splits(folder, "images")
    read = {split: part for split, part in parts.items() if split != "validation" or validation}
    arrays = {
        f"{part}_{kind}": read_array(folder / f"{part}_{kind}.npy")
        for part in read.values()
        for kind in ("images", "labels")
    }
    _check_arrays(folder, list(read.values()), arrays, card)
    if verify:
        for name, array in arrays.items():
            found = array_digest(array)
            if found != card.sha256[name]:
                raise DataError(
                    f"{folder / f'{name}.npy'}: its sha256 is {found[:12]}..., but dataset.json "
                    f"says {card.sha256[name][:12]}...; the file was changed or is incomplete"
                )
    splits: dict[str, Split] = {
        split: ArraySplit(arrays[f"{part}_images"], arrays[f"{part}_labels"])  # type: ignore[arg-type]
        for split, part in read.items()
    }
    own = [name for name in arrays if name.rpartition("_")[0] == read.get("validation")]
    digest = joined_digest(card.sha256[name] for name in arrays if name not in own)
    return Dataset(
        card,
        splits,
        digest,
        notes=tuple(
            describe_array_splits(
                parts, unused, "images", {s: len(x.labels) for s, x in splits.items()}
            )
        ),
        validation_digest=joined_digest([digest, *(card.sha256[n] for n in own)]) if own else "",
    )


def save_prepared(folder: Path, arrays: Mapping[str, NDArray[np.generic]], card: Card) -> None:
    """Write a prepared folder; it appears complete or not at all."""
    with atomic_path(folder) as temporary:
        temporary.mkdir(mode=0o700)
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array)
        (temporary / "dataset.json").write_text(
            json.dumps(card.model_dump(), indent=1), encoding="utf-8"
        )
        temporary.chmod(0o755)


def read_card(path: Path, kind: type[AnyCard]) -> AnyCard:
    """Read a `dataset.json`.

    Raises:
        DataError: It is missing, or a key is missing or wrong.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path.parent}: no prepared data set; dataset.json is missing") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        problem = validation_problems(error, lambda _: kind.model_fields)[0]
        raise DataError(
            f"{path}: {problem.key}{': ' * bool(problem.key)}{problem.message}"
        ) from None


def read_array(path: Path) -> NDArray[np.generic]:
    """Memory-map an array from a file.

    Raises:
        DataError: It is missing or broken.
    """
    try:  # copy-on-write: pages are shared between workers, and torch needs a writable array
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        first = str(error).partition("\n")[0]
        raise DataError(f"{path}: is not a complete .npy array: {first}") from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: is not a .npy array")
    return array


def _check_arrays(
    folder: Path, parts: list[str], arrays: Mapping[str, NDArray[np.generic]], card: Card
) -> None:
    def require(fits: bool, name: str, message: str) -> None:
        if not fits:
            raise DataError(f"{folder / name}: {message}")

    require(
        len(card.class_names) == card.num_classes,
        "dataset.json",
        f"class_names has {len(card.class_names)} names, num_classes is {card.num_classes}",
    )
    for name, array in arrays.items():
        file = f"{name}.npy"
        if name not in card.sha256:
            hint = f'add "{name}": "{array_digest(array)}" if the file is right'
            require(False, "dataset.json", f"sha256.{name} is missing; {hint}")
        if name.endswith("images"):
            fits = array.dtype == np.uint8 and array.ndim == 4
            require(fits, file, f"should be uint8 (N, H, W, C), not {array.dtype} {array.shape}")
        else:
            fits = array.dtype == np.int64 and array.ndim == 1
            require(fits, file, f"should be int64 (N,), not {array.dtype} {array.shape}")
        require(len(array) > 0, file, "is empty")
    for split in parts:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        same = len(images) == len(labels)
        require(same, f"{split}_labels.npy", f"{len(labels)} labels for {len(images)} images")
        low, high = int(labels.min()), int(labels.max())
        inside = low >= 0 and high < card.num_classes
        require(
            inside,
            f"{split}_labels.npy",
            f"labels go from {low} to {high}, but num_classes is {card.num_classes}",
        )
        if split == "train":
            require(low < high, "train_labels.npy", f"all images are of class {low}")
    train = arrays["train_images"].shape[1:]
    for part in parts:
        other = arrays[f"{part}_images"].shape[1:]
        message = f"images are {other}, those of training are {train}"
        require(other == train, f"{part}_images.npy", message)
