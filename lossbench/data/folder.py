"""Image folders: files of any size in a folder a class, decoded as they are needed.

    train/CLASS/*.jpg    and val/CLASS/* or test/CLASS/*      (as ImageNet is kept)
    CLASS/*.jpg                                               (training images only)

Images in folders below that of a class are of the class, too. They are decoded to RGB: 16-bit grey
levels become 8-bit ones, and what is transparent becomes white (`decoding.py`). Augmentation is
that of arrays, applied to one image at a time, with a seed of its own: the number of loading
processes changes nothing.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lossbench.data.class_folders import (
    Listed,
    files_below,
    is_image,
    list_classes,
    suffixes_hint,
    visible,
)
from lossbench.data.dataset import Card, Dataset, Split
from lossbench.data.decoding import EncodedImage, decode
from lossbench.data.encoded import EncodedRows
from lossbench.data.images import Augment, Images, View, resizes_first
from lossbench.errors import DataError

DECODED_AT_CHECK = 1000
"""Images that a check decodes, evenly spread over the folder; all of a smaller one."""
MEASURED = ("val", "test")
"""Folders that may have the test images; the first one that is there has them."""
AT_ONCE = 64
"""Images that are measured at a time, unless an evaluation says otherwise."""

Item = tuple[int, int]
"""An image's index and the seed of its augmentation."""
Files = NDArray[np.bytes_] | EncodedRows
"""Paths in the file system's encoding (a million take little memory), or rows of a table."""
Form = Literal["augmented", "central", "ten_crops"]


@dataclass(frozen=True)
class FolderSplit:
    """Image files and their labels.

    Attributes:
        paths: Of N files.
        labels: int64 (N,), in [0, K).
    """

    paths: Files
    labels: NDArray[np.int64]

    @property
    def shape(self) -> None:
        """Sizes differ."""

    def subset(self, indices: NDArray[np.int64]) -> FolderSplit:
        return FolderSplit(self.paths[indices], self.labels[indices])

    def relabelled(self, labels: NDArray[np.int64]) -> FolderSplit:
        return replace(self, labels=labels)

    def on(self, device: torch.device, view: View) -> Images:
        return FolderImages(self.paths, torch.from_numpy(self.labels).to(device), view)


@dataclass(frozen=True)
class FolderImages(Images):
    """Image files, decoded by one process fewer than the training has CPU threads, or in it.

    Attributes:
        paths: Of N files.
        labels: (N,), on the training's device.
        view: With a crop, since sizes differ.
    """

    paths: Files
    labels: Tensor
    view: View

    def augmented(
        self, batches: Iterable[Tensor], augmentations: Sequence[Augment], generator: Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        chosen = list(batches)
        # all of them now: what is drawn does not depend on how far ahead images are decoded
        seeds = [torch.randint(2**62, (len(batch),), generator=generator) for batch in chosen]
        items = (
            list(zip(batch.tolist(), own.tolist(), strict=True))
            for batch, own in zip(chosen, seeds, strict=True)
        )
        decoded = self._load(_Decoder(self.paths, self.view, "augmented", augmentations), items)
        for batch, images in zip(chosen, decoded, strict=True):
            yield images, self.labels[batch.to(self.labels.device)]

    def central(self, chosen: Tensor | None = None, size: int | None = None) -> Iterator[Tensor]:
        indices = range(len(self)) if chosen is None else chosen.tolist()
        return self._in_order("central", indices, size or AT_ONCE)

    def ten_crops(self, size: int) -> Iterator[Tensor]:
        return self._in_order("ten_crops", range(len(self)), size)

    def _in_order(self, form: Form, indices: Sequence[int], size: int) -> Iterator[Tensor]:
        starts = range(0, len(indices), size)
        items = ([(index, 0) for index in indices[at : at + size]] for at in starts)
        return self._load(_Decoder(self.paths, self.view, form), items)

    def _load(self, decoder: _Decoder, items: Iterable[list[Item]]) -> Iterator[Tensor]:
        # augmentations are closures, which only a forked process can have
        forks = "fork" in multiprocessing.get_all_start_methods()
        processes = torch.get_num_threads() - 1 if forks else 0
        loader = DataLoader(
            decoder,
            batch_sampler=items,
            num_workers=processes,
            multiprocessing_context="fork" if processes else None,
            collate_fn=_collate,
            pin_memory=self.labels.device.type == "cuda",
            generator=Generator(),  # else it draws from the global one, as dropout does
        )
        for images in loader:
            if isinstance(images, str):
                raise DataError(images)
            yield images.to(self.labels.device, non_blocking=True)


class _Decoder(TorchDataset[Any]):
    """One image as (C, H, W), or the message of what is wrong with its file.

    An exception would come out of a loading process as text with a traceback.
    """

    def __init__(
        self, paths: Files, view: View, form: Form, augment: Sequence[Augment] = ()
    ) -> None:
        self.paths, self.view, self.form, self.augment = paths, view, form, augment

    def __getitem__(self, item: Item) -> Tensor | str:
        index, seed = item
        path = _file(self.paths, index)
        try:
            image = decode(path)
        except DataError as error:
            return str(error)
        if resizes_first(self.augment):
            image = self.view.resized(image)
            if self.view.crop is not None and min(image.shape[1:]) < self.view.crop:
                size = "x".join(map(str, image.shape[1:]))
                return f"{path}: {size} is too small for a crop of {self.view.crop}"
        if self.form == "ten_crops":
            return self.view.ten_crops(image)
        if self.form == "augmented":
            generator = Generator().manual_seed(seed)
            for augment in self.augment:
                image = augment(image[None], generator)[0]
        return self.view.cropped(image)


def is_image_folder(folder: Path) -> bool:
    """Whether there is an image in a folder of a class.

    Without train, val and test only the folders of the classes themselves count: what lies deeper
    may be classes in folders with other names.
    """
    parts = [part for name in ("train", "val", "test") if (part := folder / name).is_dir()]
    files_of = files_below if parts else visible
    try:
        classes = (entry for part in parts or [folder] for entry in visible(part))
        files = (file for k in classes if k.is_dir() for file in files_of(k.path))
        return any(is_image(file.name) and not file.is_dir() for file in files)
    except OSError:
        return False


def why_no_image_folder(folder: Path) -> str:
    """End of a message on a folder that is none: a file of it, and where that should lie."""
    try:
        files = [Path(e.path).relative_to(folder) for e in islice(files_below(folder), 10_000)]
    except OSError:
        return ""
    images = [file for file in files if is_image(file.name)]
    if not images:
        return suffixes_hint([str(file) for file in files if len(file.parts) > 1])
    if len(images[0].parts) == 1:
        return f"; {images[0]} should be in a folder of its class"
    return (
        f"; images such as {images[0]} lie deeper: put the folders of the classes into train, and "
        "val or test"
    )


def load_folder(folder: Path, *, verify: bool = True) -> Dataset:
    """Open an image folder.

    Its digest covers names and sizes of all files, not their content: reading the content of
    ImageNet takes an hour.

    Args:
        folder: Of one of the forms above.
        verify: Decode images, too: all, or 1,000 of a larger folder.

    Raises:
        DataError: There are no classes or a class is empty, training and test set have different
            classes, or a file is no image.
    """
    measured = [name for name in MEASURED if (folder / name).is_dir()]
    if (folder / "train").is_dir():
        parts = {"train": folder / "train"} | ({"test": folder / measured[0]} if measured else {})
    elif measured:
        raise DataError(f"{folder}: has {measured[0]}, but no train; is it whole?")
    else:
        parts = {"train": folder}
    listed = {name: list_classes(part) for name, part in parts.items()}
    classes = list(listed["train"])
    if "test" in listed:
        _require_same_classes(parts, listed)
    splits: dict[str, Split] = {}
    sizes = hashlib.sha256()
    looked_at: list[tuple[str, int]] = []
    for name, by_class in listed.items():
        prefix = "" if parts[name] == folder else f"{parts[name].name}/"
        for k, files in by_class.items():
            for file, size in files:
                sizes.update(os.fsencode(f"{prefix}{k}/{file} {size}\n"))
        labels = np.repeat(np.arange(len(classes)), [len(files) for files in by_class.values()])
        paths = np.array(
            [
                os.fsencode(f"{parts[name]}/{k}/{file}")
                for k, files in by_class.items()
                for file, _ in files
            ]
        )
        if verify:
            looked_at.append(decode_some(paths))
        splits[name] = FolderSplit(paths, labels.astype(np.int64))
    digest = sizes.hexdigest()
    note = "image folder; its digest covers the names and sizes of the files"
    if len(measured) > 1:
        note += f"; {measured[0]}/ is its test set, {measured[1]}/ is not used"
    card = Card(
        name=folder.absolute().name,
        num_classes=len(classes),
        class_names=classes,
        source=str(folder),
        note=note,
        sha256={"files": digest},
    )
    smallest = min(looked_at, key=lambda found: found[1], default=None)
    no_test = "" if measured or parts["train"] == folder else _found_instead(folder)
    return Dataset(card, splits, digest[:16], smallest, no_test)


def _found_instead(folder: Path) -> str:
    found = sorted(f"{e.name}/" for e in visible(folder) if e.is_dir() and e.name != "train")
    return f"looked for val/ or test/, found {', '.join(found[:5]) or 'train/ only'}"


def _require_same_classes(parts: dict[str, Path], listed: dict[str, Listed]) -> None:
    train, test = (list(listed[name]) for name in ("train", "test"))
    for here, names, others in (("train", train, test), ("test", test, train)):
        lacking = [name for name in others if name not in names]
        if lacking:
            raise DataError(
                f"{parts[here]}: lacks {len(lacking)} of {len(others)} classes, such as "
                f"{lacking[0]}; was the data set extracted completely?"
            )


def _file(paths: Files, index: int) -> Path | EncodedImage:
    file = paths[index]
    return file if isinstance(file, EncodedImage) else Path(os.fsdecode(file))


def decode_some(paths: Files) -> tuple[str, int]:
    """File and shorter side of the smallest of some that are decoded.

    Raises:
        DataError: One does not decode.
    """
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(DECODED_AT_CHECK, len(paths))).round())
    files = [_file(paths, int(i)) for i in chosen]
    with ThreadPoolExecutor() as pool:
        sides = list(pool.map(lambda file: min(decode(file).shape[1:]), files))
    smallest = min(range(len(files)), key=lambda at: sides[at])
    return str(files[smallest]), sides[smallest]


def _collate(images: list[Tensor | str]) -> Tensor | str:
    broken = [image for image in images if isinstance(image, str)]
    return broken[0] if broken else torch.stack(images)  # type: ignore[arg-type]
