"""Splits of image files of any size, decoded to RGB on demand (`decoding.py`).

Augmentations are those of arrays, applied to one image at a time. Each image has its own seed, so
that the result does not depend on the number of loading processes.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lossbench.data.decoding import EncodedImage, decode, stores_16_bits, upright_size
from lossbench.data.encoded_images import EncodedImages
from lossbench.data.images import Augment, Images, View, resizes_first
from lossbench.errors import DataError, UnusableComponentError

DECODED_AT_CHECK = 1000
"""Number of evenly spaced images that a check decodes; all images of a smaller split."""
MEASURED_AT_CHECK = 50_000
"""Largest number of images whose sizes are all read if the decoded ones have the same size."""
TWELVE_BITS = 4095
"""Largest level of 12-bit cameras and scanners, which write files of 16 bits."""
BATCH_SIZE = 64
"""Default batch size without augmentation."""

Item = tuple[int, int]
"""Index of an image, and seed of its augmentation."""
ImagePaths = NDArray[np.bytes_] | EncodedImages
"""Paths in the encoding of the file system, which saves memory for millions, or rows of a table."""
Form = Literal["augmented", "unaugmented", "ten_crops"]
Fault = DataError | UnusableComponentError
"""Error of a file, which ends the run, or of an augmentation, which ends the trial."""


@dataclass(frozen=True)
class ImageFileSplit:
    """Split of image files with labels.

    Attributes:
        paths: Paths of N files.
        labels: int64 (N,), in [0, K).
    """

    paths: ImagePaths
    labels: NDArray[np.int64]

    @property
    def shape(self) -> None:
        """None, because sizes may differ."""

    def subset(self, indices: NDArray[np.int64]) -> ImageFileSplit:
        return ImageFileSplit(self.paths[indices], self.labels[indices])

    def relabelled(self, labels: NDArray[np.int64]) -> ImageFileSplit:
        return replace(self, labels=labels)

    def to_device(self, device: torch.device, view: View) -> Images:
        return ImageFiles(self.paths, torch.from_numpy(self.labels).to(device), view)


@dataclass(frozen=True)
class ImageFiles(Images):
    """Images decoded from files, by as many processes as the training has CPU threads, minus one.

    With one thread, or where processes cannot be forked, they are decoded in the training process.

    Attributes:
        paths: Paths of N files.
        labels: (N,), on the device of the training.
        view: Resizing and crop of each image; with a crop if sizes differ.
    """

    paths: ImagePaths
    labels: Tensor
    view: View

    def augmented(
        self, batches: Iterable[Tensor], augmentations: Sequence[Augment], generator: Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        chosen = list(batches)
        # all seeds now, so that they do not depend on how far ahead images are decoded
        seeds = [torch.randint(2**62, (len(batch),), generator=generator) for batch in chosen]
        items = (
            list(zip(batch.tolist(), own.tolist(), strict=True))
            for batch, own in zip(chosen, seeds, strict=True)
        )
        decoded = self._load(_Decoder(self.paths, self.view, "augmented", augmentations), items)
        for batch, images in zip(chosen, decoded, strict=True):
            yield images, self.labels[batch.to(self.labels.device)]

    def unaugmented(
        self, chosen: Tensor | None = None, size: int | None = None
    ) -> Iterator[Tensor]:
        indices = range(len(self)) if chosen is None else chosen.tolist()
        return self._in_order("unaugmented", indices, size or BATCH_SIZE)

    def ten_crops(self, size: int) -> Iterator[Tensor]:
        return self._in_order("ten_crops", range(len(self)), size)

    def _in_order(self, form: Form, indices: Sequence[int], size: int) -> Iterator[Tensor]:
        starts = range(0, len(indices), size)
        items = ([(index, 0) for index in indices[at : at + size]] for at in starts)
        return self._load(_Decoder(self.paths, self.view, form), items)

    def _load(self, decoder: _Decoder, items: Iterable[list[Item]]) -> Iterator[Tensor]:
        # augmentations are closures, which only forked processes can use
        forks = "fork" in multiprocessing.get_all_start_methods()
        processes = torch.get_num_threads() - 1 if forks else 0
        loader = DataLoader(
            decoder,
            batch_sampler=items,
            num_workers=processes,
            multiprocessing_context="fork" if processes else None,
            collate_fn=_collate,
            pin_memory=self.labels.device.type == "cuda",
            generator=Generator(),  # else it would draw from the global generator, like dropout
        )
        for images in loader:
            if isinstance(images, Fault):
                raise images
            yield images.to(self.labels.device, non_blocking=True)


class _Decoder(TorchDataset[Any]):
    """Data set of images (C, H, W), or of an error for a broken file.

    Errors are returned, because one raised in a loading process is raised again with its traceback
    as text.
    """

    def __init__(
        self, paths: ImagePaths, view: View, form: Form, augment: Sequence[Augment] = ()
    ) -> None:
        self.paths, self.view, self.form, self.augment = paths, view, form, augment

    def __getitem__(self, item: Item) -> Tensor | Fault:
        index, seed = item
        path = _file(self.paths, index)
        try:
            image = decode(path)
        except DataError as error:
            return error
        if resizes_first(self.augment):
            image = self.view.resized(image)
            if self.view.crop is not None and min(image.shape[1:]) < self.view.crop:
                size = "x".join(map(str, image.shape[1:]))
                return DataError(f"{path}: {size} is too small for a crop of {self.view.crop}")
        if self.form == "ten_crops":
            return self.view.ten_crops(image)
        if self.form == "augmented":
            generator = Generator().manual_seed(seed)
            try:
                for augment in self.augment:
                    image = augment(image[None], generator)[0]
            except UnusableComponentError as error:
                return UnusableComponentError(f"{path}: {error}")
        return self.view.cropped(image)


def _file(paths: ImagePaths, index: int) -> Path | EncodedImage:
    file = paths[index]
    return file if isinstance(file, EncodedImage) else Path(os.fsdecode(file))


@dataclass(frozen=True)
class InspectedImages:
    """Result of an inspection of images.

    Attributes:
        count: Number of all images.
        sides: File -> size (H, W), of the images whose size was read.
        brightest: Largest 8-bit level of the decoded images stored with 16 bits; None without any.
    """

    count: int
    sides: dict[str, tuple[int, int]]
    brightest: int | None

    @property
    def smallest(self) -> tuple[str, int]:
        """File and shorter side of the smallest image."""
        return min(((file, min(side)) for file, side in self.sides.items()), key=lambda f: f[1])


def inspect_images(paths: ImagePaths) -> InspectedImages:
    """Decode all images, or 1,000 evenly spaced ones of more; read the sizes of others if useful.

    Raises:
        DataError: An image cannot be decoded.
    """
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(DECODED_AT_CHECK, len(paths))).round())

    def look(index: float) -> tuple[str, tuple[int, int], int | None]:
        file = _file(paths, int(index))
        image = decode(file)
        brightest = int(image.max()) if stores_16_bits(file) else None
        return str(file), (image.shape[1], image.shape[2]), brightest

    def measure(index: int) -> tuple[str, tuple[int, int]]:
        file = _file(paths, index)
        return str(file), upright_size(file)

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(look, chosen))
        sides = {file: side for file, side, _ in found}
        if len(set(sides.values())) == 1 and len(sides) < len(paths) <= MEASURED_AT_CHECK:
            rest = np.setdiff1d(np.arange(len(paths)), chosen.astype(int))
            sides |= pool.map(measure, rest.tolist())
    deep = [brightest for _, _, brightest in found if brightest is not None]
    return InspectedImages(len(paths), sides, max(deep) if deep else None)


def common_size(inspected: Sequence[InspectedImages]) -> tuple[tuple[int, int] | None, str]:
    """Size (H, W) of all inspected images, None if they differ; and a description of them."""
    sides = {file: side for part in inspected for file, side in part.sides.items()}
    looked, count = len(sides), sum(part.count for part in inspected)
    examples: dict[tuple[int, int], str] = {}
    for file, side in sides.items():
        examples.setdefault(side, file)
    seen = f"all {count:,} images" if looked == count else f"{looked:,} of {count:,} images"
    if len(examples) == 1:
        return next(iter(examples)), f"{seen} were looked at"
    (first, one), (second, other) = list(examples.items())[:2]
    return None, (
        f"{one} is {first[0]}x{first[1]}, {other} is {second[0]}x{second[1]}; {seen} were looked at"
    )


def first_size(paths: ImagePaths) -> tuple[int, int]:
    """Size (H, W) of the first image, for workers: the check before found that all have it."""
    height, width = decode(_file(paths, 0)).shape[1:]
    return height, width


def warn_of_dark_levels(inspected: Sequence[InspectedImages]) -> tuple[str, ...]:
    """Warning if files of 16 bits use at most 12 of them."""
    deep = [part.brightest for part in inspected if part.brightest is not None]
    if not deep or max(deep) > TWELVE_BITS // 257 + 1:
        return ()
    return (
        f"the largest level of 16-bit images is about {max(deep) * 257:,} of 65,535, so that only "
        f"{max(deep) + 1} of 256 levels remain; do they have 12 bits or fewer? Multiply the levels "
        "(for 12 bits by 16) and save the images again",
    )


def _collate(images: list[Tensor | Fault]) -> Tensor | Fault:
    broken = [image for image in images if isinstance(image, Fault)]
    if broken:
        return broken[0]
    decoded = [image for image in images if isinstance(image, Tensor)]
    sizes = sorted({"x".join(map(str, image.shape[-2:])) for image in decoded})
    if len(sizes) > 1:  # among images that the check did not inspect
        message = f"images of a batch are {sizes[0]} and {sizes[1]}: set recipe.input.crop"
        return DataError(message)
    return torch.stack(decoded)
