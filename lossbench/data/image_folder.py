"""Image folders as data sets: which folder is which part, and which files are read.

    train/CLASS/*.jpg, test/CLASS/*     trained on, tested
    val/CLASS/*                         the test set without test/; else what `selection` chooses on
    CLASS/*.jpg                         training images only

`val` may also be called validation, valid or dev. Images in folders below that of a class are of
the class, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from lossbench.data.class_folders import (
    Listing,
    describe_skipped,
    files_below,
    is_image,
    list_classes,
    suffixes_hint,
    visible,
)
from lossbench.data.content_digest import SAMPLED, HashedFile, content_digest, is_hashed_whole
from lossbench.data.dataset import Card, Dataset, Split
from lossbench.data.image_files import (
    ImageFileSplit,
    InspectedImages,
    common_size,
    first_size,
    inspect_images,
    warn_of_dark_levels,
)
from lossbench.data.prepared import joined_digest
from lossbench.data.split_names import MEASURED, assign_splits, describe_splits
from lossbench.errors import DataError

NEVER_CLASSES = ("test", "validation", "val")
"""Folders that are parts of a data set even without train; `valid` may be a class."""


def is_image_folder(folder: Path) -> bool:
    """Whether there is an image in a folder of a class.

    Without folders of parts only the folders of the classes themselves count: what lies deeper may
    be classes in folders with other names.
    """
    parts = [folder / name for name in ("train", *NEVER_CLASSES) if (folder / name).is_dir()]
    files_of = files_below if parts else visible
    try:
        classes = (entry for part in parts or [folder] for entry in visible(part))
        files = (file for k in classes if k.is_dir() for file in files_of(k.path))
        return any(is_image(file.name) and not file.is_dir() for file in files)
    except OSError:
        return False


def explain_no_image_folder(folder: Path) -> str:
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
        "test or val"
    )


def load_image_folder(
    folder: Path,
    *,
    verify: bool = True,
    validation: bool = False,
    missing_test_classes: bool = False,
) -> Dataset:
    """Open an image folder.

    Its digest covers the content of all files, of a large folder a sample of it: reading all of
    ImageNet takes an hour.

    Args:
        folder: Of one of the forms above.
        verify: Decode images, too: all, or 1,000 of a larger folder.
        validation: Read the validation set, too, where there is one next to a test set.
        missing_test_classes: Take classes without test images, or without validation images.

    Raises:
        DataError: There are no classes or a class is empty, training and test set have different
            classes, or a file is no image.
    """
    found = _find_parts(folder)
    offered = assign_splits(found)
    parts = {name: part for name, part in offered.items() if name != "validation" or validation}
    train = list_classes(parts["train"])
    listed = {"train": train}
    for name, part in parts.items():
        if name != "train":
            listed[name] = list_classes(part, may_lack=True)
            _require_same_classes(parts["train"], train, part, listed[name], missing_test_classes)
    classes = list(train.images)
    splits: dict[str, Split] = {}
    train_split = _split(parts["train"], train, classes)
    inspected: list[InspectedImages] = []
    for name, listing in listed.items():
        split = train_split if name == "train" else _split(parts[name], listing, classes)
        if verify:
            inspected.append(inspect_images(split.paths))
        splits[name] = split
    files = _hashed_files(folder, {n: p for n, p in parts.items() if n != "validation"}, listed)
    digest = content_digest(files)
    with_validation = ""
    if "validation" in parts:
        own = _hashed_files(folder, {"validation": parts["validation"]}, listed)
        with_validation = joined_digest([digest, content_digest(own)])
    covers = "every byte" if is_hashed_whole(files) else SAMPLED
    card = Card(
        name=folder.absolute().name,
        num_classes=len(classes),
        class_names=classes,
        source=str(folder),
        note=f"image folder; its digest covers {covers}",
        sha256={"files": digest},
    )
    if verify:
        size, seen = common_size(inspected)
    else:
        size, seen = first_size(train_split.paths), ""
    return Dataset(
        card,
        splits,
        digest[:16],
        min((part.smallest for part in inspected), key=lambda file: file[1], default=None),
        no_test="" if "test" in parts or parts["train"] == folder else _found_instead(folder),
        notes=(
            *_notes(folder, found, offered, splits),
            *_notes_on_files(folder, parts, listed),
            *([] if is_hashed_whole(files) else [f"the digest covers {SAMPLED}"]),
        ),
        validation_digest=with_validation,
        warnings=warn_of_dark_levels(inspected),
        common_size=size,
        sizes_seen=seen,
    )


def _find_parts(folder: Path) -> dict[str, Path]:
    """Name -> the folder of that part; a folder of classes is its own training set."""
    if (folder / "train").is_dir():
        names = ("train", *MEASURED)
        return {name: folder / name for name in names if (folder / name).is_dir()}
    for name in NEVER_CLASSES:
        if (folder / name).is_dir():
            raise DataError(f"{folder}: has {name}, but no train; is it whole?")
    return {"train": folder}


def _split(part: Path, listing: Listing, classes: list[str]) -> ImageFileSplit:
    labels = [k for k, name in enumerate(classes) for _ in listing.images.get(name, ())]
    paths = [
        os.fsencode(f"{part}/{name}/{file.name}")
        for name in classes
        for file in listing.images.get(name, ())
    ]
    return ImageFileSplit(np.array(paths), np.array(labels, np.int64))


def _hashed_files(
    folder: Path, parts: Mapping[str, Path], listed: Mapping[str, Listing]
) -> list[HashedFile]:
    """The images of some parts, by their paths below the folder of the data set."""
    files = []
    for name, part in parts.items():
        prefix = "" if part == folder else f"{part.name}/"
        for k, images in listed[name].images.items():
            files += [
                HashedFile(f"{prefix}{k}/{image.name}", f"{part}/{k}/{image.name}", image.state)
                for image in images
            ]
    return files


def _notes(
    folder: Path,
    found: Mapping[str, Path],
    offered: Mapping[str, Path],
    splits: Mapping[str, Split],
) -> list[str]:
    """Lines on the parts of the folder."""
    if offered["train"] == folder:
        return []

    def describe(name: str) -> str | None:
        if name not in offered:
            return None
        count = f" ({len(splits[name].labels):,} images)" if name in splits else ""
        return f"{offered[name].name}/{count}"

    unused = [f"{part.name}/" for part in found.values() if part not in offered.values()]
    unused += [f"{e.name}/" for e in visible(folder) if e.is_dir() and e.name not in found]
    selects = "validation" in splits
    return describe_splits(
        describe("test"), describe("validation"), sorted(unused), selects=selects
    )


def _notes_on_files(
    folder: Path, parts: Mapping[str, Path], listed: Mapping[str, Listing]
) -> list[str]:
    """Lines on files that are not read, and on classes without images."""
    lines, skipped = [], []
    classes = listed["train"].images
    for name, listing in listed.items():
        place = "" if parts[name] == folder else f"{parts[name].name}/"
        skipped += [f"{place}{file}" for file in listing.skipped]
        lacking = [k for k in classes if k not in listing.images]
        if lacking:
            some = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
            count = f"{len(lacking)} of {len(classes)} classes"
            lines.append(f"without images in {place}: {count}, {some}")
    return lines + ([describe_skipped(skipped)] if skipped else [])


def _found_instead(folder: Path) -> str:
    found = sorted(f"{e.name}/" for e in visible(folder) if e.is_dir() and e.name != "train")
    names = ", ".join(f"{name}/" for name in MEASURED)
    return f"looked for {names}; found {', '.join(found[:5]) or 'train/ only'}"


def _require_same_classes(
    train: Path, trained: Listing, part: Path, measured: Listing, may_lack: bool
) -> None:
    if not measured.images:
        hint = suffixes_hint(list(measured.skipped)) or "; was the data set extracted completely?"
        raise DataError(f"{part}: has no images{hint}")
    new = [name for name in measured.images if name not in trained.images]
    if new:
        raise DataError(
            f"{train}: lacks {len(new)} of the {len(measured.images)} classes in {part.name}, such "
            f"as {new[0]}; was the data set extracted completely?"
        )
    lacking = [name for name in trained.images if name not in measured.images]
    if lacking and not may_lack:
        others = [name for name in measured.skipped if name.startswith(f"{lacking[0]}/")]
        why = "there is no such folder"
        if (part / lacking[0]).is_dir():
            why = "its folder is without images" + suffixes_hint(others)
        raise DataError(
            f"{part}: has no images for {len(lacking)} of {len(trained.images)} classes, such as "
            f"{lacking[0]} ({why}); was the data set extracted completely? If there are to be "
            "none, set dataset.missing_test_classes: allow"
        )
