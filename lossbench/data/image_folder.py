"""Image folders as data sets.

    train/CLASS/*.jpg, test/CLASS/*     training set, test set
    val/CLASS/*                         validation set for `selection`; without test/ the test set
    CLASS/*.jpg                         training set only

`val` may also be named validation, valid or dev. Images in subfolders of a class belong to the
class, too.
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
from lossbench.data.folder_forms import NEVER_CLASSES
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


def explain_no_image_folder(folder: Path) -> str:
    """End of a message on a folder that is not an image folder: the right place of its files."""
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
        f"; images such as {images[0]} are too deep: put the folders of the classes into train, "
        "and test or val"
    )


def load_image_folder(
    folder: Path,
    *,
    verify: bool = True,
    validation: bool = False,
    missing_test_classes: bool = False,
) -> Dataset:
    """Open an image folder.

    Its digest covers the content of all files, or of a large folder a sample of it, because reading
    all of ImageNet takes an hour.

    Args:
        folder: Folder of one of the forms above.
        verify: Whether to decode images, too: all, or 1,000 of a larger split.
        validation: Whether to read the validation set, too, if there is one next to a test set.
        missing_test_classes: Whether classes may have no test images or no validation images.

    Raises:
        DataError: There are no classes, a class is empty, training and test set have different
            classes, or a file is not an image.
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
    """Part -> its folder; a folder of classes is the training part itself."""
    if (folder / "train").is_dir():
        names = ("train", *MEASURED)
        return {name: folder / name for name in names if (folder / name).is_dir()}
    for name in NEVER_CLASSES:
        if (folder / name).is_dir():
            raise DataError(f"{folder}: has {name}, but no train; is it complete?")
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
    """Images of some parts, named by their paths relative to the folder of the data set."""
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
    """Lines on the use of the parts of the folder."""
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
            f"{lacking[0]} ({why}); was the data set extracted completely? If this is intended, "
            "set dataset.missing_test_classes: allow"
        )
