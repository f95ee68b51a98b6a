"""Known data sets: bundled with a library, downloaded by torchvision, or a folder.

Functions import what needs torch, so that data sets are listed without it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lossbench.data.folder_forms import FORMS, is_image_folder
from lossbench.data.official_files import (
    ARRAY_DIGESTS,
    require_official_arrays,
    require_official_files,
)
from lossbench.data.source import Source
from lossbench.data.torchvision_catalogue import CATALOGUE, UNSUPPORTED
from lossbench.data.torchvision_datasets import placeholder_entry, torchvision_entry
from lossbench.errors import DataError, MissingDataError
from lossbench.registry import Registry
from lossbench.suite.atomic_files import atomic_path

if TYPE_CHECKING:
    from lossbench.data.dataset import Card
    from lossbench.data.prepared import Arrays

DATASETS: Registry[Source] = Registry("data set")


@DATASETS.register("digits", reference="Alpaydin & Kaynak, 1998; scikit-learn's copy")
def _digits() -> Source:
    return Source("1,797 real 8x8 digits, 10 classes; bundled", _fetch_digits, bundled=True)


@DATASETS.register("mnist", reference="LeCun et al., 1998")
def _mnist() -> Source:
    # torchvision accepts them packed (.gz) or, as here, unpacked
    names = [f"{s}-{k}-ubyte" for s in ("train", "t10k") for k in ("images-idx3", "labels-idx1")]
    files = tuple(f"MNIST/raw/{name}" for name in names)
    fetch = functools.partial(_fetch_torchvision, "MNIST", "mnist")
    return Source("70,000 digits 28x28, 10 classes", fetch, files=files)


@DATASETS.register("cifar10", reference="Krizhevsky, 2009")
def _cifar10() -> Source:
    fetch = functools.partial(_fetch_torchvision, "CIFAR10", "cifar10")
    return Source("60,000 images 32x32x3, 10 classes", fetch, files=("cifar-10-python.tar.gz",))


@DATASETS.register("cifar100", reference="Krizhevsky, 2009")
def _cifar100() -> Source:
    fetch = functools.partial(_fetch_torchvision, "CIFAR100", "cifar100")
    return Source("60,000 images 32x32x3, 100 classes", fetch, files=("cifar-100-python.tar.gz",))


@DATASETS.register("imagenet", reference="Russakovsky et al., IJCV 2015")
def _imagenet() -> Source:
    description = "1,281,167 + 50,000 images of 1,000 classes, in train/CLASS and val/CLASS"
    return Source(description, by_hand=True)


@DATASETS.register("casia_webface", reference="Yi et al., 2014")
def _casia_webface() -> Source:
    description = "494,414 aligned faces 128x128 of 10,575 people, in one folder per person"
    return Source(description, by_hand=True)


@DATASETS.register("lfw", reference="Huang et al., 2007")
def _lfw() -> Source:
    description = "13,233 faces of 5,749 people with the official pairs, for verification"
    files = ("lfw/NAME/NAME_0001.jpg, ...", "lfw/pairs.txt")
    return Source(description, _fetch_lfw, files=files, by_hand=True)


@DATASETS.register("lfw_within", reference="Huang et al., 2007")
def _lfw_within() -> Source:
    description = "LFW people who are in no pair of its folds 1 to 5; made from the data set lfw"
    return Source(description, _fetch_lfw_within, bundled=True, derived_from="lfw")


def known_names() -> list[str]:
    """Names of all known data sets, those of libraries last."""
    libraries = DATASETS.libraries
    others = [f"{each.prefix}.{name}" for each in libraries for name in sorted(each.names())]
    return [*DATASETS, *others]


def prepare(name: str, data_root: Path) -> Path:
    """Create the prepared folder of a known data set, `data_root/name`, or check an existing one.

    Args:
        name: Name of the data set.
        data_root: Folder of the prepared data sets.

    Returns:
        The prepared folder.

    Raises:
        UnknownNameError: The data set is unknown.
        DataError: Files are missing and cannot be downloaded, or are broken.
    """
    from lossbench.data.faces import load_faces
    from lossbench.data.image_folder import load_image_folder
    from lossbench.data.prepared import load_prepared, save_prepared

    source = DATASETS[name].create()
    folder = data_root / name
    if (folder / "dataset.json").exists():
        load_faces(folder) if name == "lfw" else load_prepared(folder)
        return folder
    if source.fetch is None and (source.write_folder is None or folder.is_dir()):
        if not folder.is_dir():
            raise by_hand_error(name, source, folder)
        load_image_folder(folder)
        return folder
    if folder.exists():
        raise DataError(f"{folder}: exists, but has no dataset.json; move it elsewhere first")
    downloads = data_root / "downloads"
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        if source.fetch:
            arrays, card = source.fetch(downloads)
            save_prepared(folder, arrays, card)
        elif source.write_folder:
            with atomic_path(folder) as temporary:
                temporary.mkdir()
                source.write_folder(downloads, temporary)
    except DataError:
        raise
    except Exception as error:  # torchvision raises various types for a failed download
        if not (isinstance(error, OSError | RuntimeError) or DATASETS[name].external):
            raise
        wanted = "".join(f"\n  {downloads / file}" for file in source.files)
        wanted = wanted or f"\n  {downloads}/..., as torchvision names them"
        if source.by_hand and isinstance(error, FileNotFoundError):
            problem = f"{name} cannot be downloaded automatically"
        else:
            reason = str(error).partition("\n")[0].rstrip(":")
            problem = f"{name} cannot be prepared: {reason}"
        raise DataError(
            f"{problem}\n"
            f"Put the official files at these paths and try again:{wanted}\n"
            f"or put a prepared folder (dataset.json and its arrays) at {folder}"
        ) from None
    return folder


def describe_prepared(name: str, folder: Path) -> str:
    """Note on the origin of the content in the folder of a known data set."""
    from lossbench.data.dataset import Card
    from lossbench.data.prepared import read_card

    if not (folder / "dataset.json").exists():
        return DATASETS[name].create().note
    card = read_card(folder / "dataset.json", Card)
    said = f"its dataset.json says: {card.note or 'nothing about its content'}"
    known = ARRAY_DIGESTS.get(name)
    if known is None:
        return said
    official = all(card.sha256.get(key) == digest for key, digest in known.items())
    return "the official images and labels" if official else f"not the official data; {said}"


def by_hand_error(name: str, source: Source, folder: Path) -> MissingDataError:
    """Error for a data set that users have to obtain themselves, and how to do so."""
    return MissingDataError(
        f"{name} cannot be downloaded automatically: its licence requires you to obtain it "
        "yourself.\n"
        f"It contains {source.description}.\nPut it, or a link to it, at {folder}"
    )


def is_ready(name: str, data_root: Path) -> bool:
    """Whether a known data set can be used without preparing it."""
    source, folder = DATASETS[name].create(), data_root / name
    if source.derived_from:
        return is_ready(source.derived_from, data_root)
    return (
        source.bundled
        or (folder / "dataset.json").exists()
        or (source.fetch is None and is_image_folder(folder))
    )


def own_folders(data_root: Path) -> list[Path]:
    """Folders of the user's own data sets in the data root."""
    return [
        folder
        for folder in sorted(data_root.glob("[!.]*"))
        if folder.name not in DATASETS
        and ((folder / "dataset.json").exists() or any(holds(folder) for holds in FORMS))
    ]


def _fetch_lfw(downloads: Path) -> tuple[Arrays, Card]:
    from lossbench.data.faces import fetch_lfw

    return fetch_lfw(downloads)


def _fetch_lfw_within(data_root: Path) -> tuple[Arrays, Card]:
    from lossbench.data.faces import fetch_lfw_within

    return fetch_lfw_within(data_root)


def _fetch_digits(_: Path) -> tuple[Arrays, Card]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    from lossbench.data.prepared import make_card

    digits = load_digits()
    # 17 grey levels, 0..16, spread over the range of a byte
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]  # (1797, 8, 8, 1)
    labels = digits.target.astype(np.int64)
    split = train_test_split(images, labels, test_size=597, random_state=0, stratify=labels)
    arrays = dict(
        zip(("train_images", "test_images", "train_labels", "test_labels"), split, strict=True)
    )
    note = "no official split: 1,200 train, 597 test, the same share of each class"
    return arrays, make_card("digits", list("0123456789"), "scikit-learn load_digits", note, arrays)


def _fetch_torchvision(class_name: str, name: str, downloads: Path) -> tuple[Arrays, Card]:
    from lossbench.data.prepared import make_card
    from lossbench.data.torchvision import torchvision

    require_official_files(name, downloads)
    arrays: Arrays = {}
    splits: dict[str, Any] = {}
    for split in ("train", "test"):
        dataset = getattr(torchvision.datasets, class_name)
        splits[split] = dataset(downloads, train=split == "train", download=True)
        images = np.asarray(splits[split].data, dtype=np.uint8)
        arrays[f"{split}_images"] = images[..., None] if images.ndim == 3 else images
        arrays[f"{split}_labels"] = np.asarray(splits[split].targets, dtype=np.int64)
    classes = [str(c).partition(" - ")[0] for c in splits["train"].classes]
    note = "official: its files have the known digests"
    card = make_card(name, classes, f"torchvision.datasets.{class_name}", note, arrays)
    require_official_arrays(name, card.sha256, downloads)
    return arrays, card


DATASETS.register_prefix(
    "torchvision", torchvision_entry, lambda: CATALOGUE, placeholder_entry(), UNSUPPORTED
)
