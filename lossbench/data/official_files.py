"""Digests of official data files; only data with these digests is called official."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from lossbench.errors import DataError

FILES: Mapping[str, Mapping[str, str]] = {
    "mnist": {
        "MNIST/raw/train-images-idx3-ubyte": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "MNIST/raw/train-labels-idx1-ubyte": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "MNIST/raw/t10k-images-idx3-ubyte": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "MNIST/raw/t10k-labels-idx1-ubyte": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    }
}
"""Data set -> file in the download folder -> SHA-256, for files that torchvision does not check. It
compares the packed files of MNIST and all files of CIFAR with their MD5 itself."""
ARRAY_DIGESTS: Mapping[str, Mapping[str, str]] = {
    "mnist": {
        "train_images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "train_labels": "e474323ac02fc156161b0bbb1f8c9cfeb327a74bcd9f9680a8385269a24f566c",
        "test_images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "test_labels": "2fd8de6bdb8d11780b4b96dc57847bcfe6953f7c32aa48bfcd8237c3b7847243",
    }
}
"""Data set -> array -> SHA-256 in a prepared folder made from the official files."""
LFW_PAIRS_MD5 = "9f1ba174e4e1c508ff7cdf10ac338a7d"
"""MD5 of pairs.txt, from torchvision. For the images of LFW, only digests of the packed files are
known, so images in a folder cannot be verified."""
LFW_IMAGES, LFW_PEOPLE = 13_233, 5_749
"""Numbers of images and people in LFW."""


def require_official_files(name: str, downloads: Path) -> None:
    """Check the files of a data set in the download folder.

    Raises:
        DataError: A file is not the official one.
    """
    for file, digest in FILES.get(name, {}).items():
        path = downloads / file
        if path.is_file() and (found := _sha256(path)) != digest:
            raise DataError(
                f"{path}: is not the official file of {name}: its sha256 is {found[:12]}..., not "
                f"{digest[:12]}...; replace it with the official one, or put your own data into a "
                "folder of another name"
            )


def require_official_arrays(name: str, digests: Mapping[str, str], downloads: Path) -> None:
    """Check the arrays that were made from the official files.

    Raises:
        DataError: An array is not the one made from the official files.
    """
    wrong = [
        key for key, digest in ARRAY_DIGESTS.get(name, {}).items() if digests.get(key) != digest
    ]
    if wrong:
        raise DataError(
            f"{downloads}: {' and '.join(wrong)} of {name} are not the official ones; remove its "
            "files from there, or put your own data into a folder of another name"
        )


def describe_lfw(images: int, people: int, pairs: bytes) -> str:
    """Note on faces and pairs that were found in the download folder.

    Args:
        images: Number of images.
        people: Number of people.
        pairs: Content of `pairs.txt`.
    """
    official = hashlib.md5(pairs, usedforsecurity=False).hexdigest() == LFW_PAIRS_MD5
    note = f"{images:,} images of {people:,} people as they were found, not verified"
    if (images, people) != (LFW_IMAGES, LFW_PEOPLE):
        note += f" (LFW has {LFW_IMAGES:,} of {LFW_PEOPLE:,})"
    return f"{note}; pairs.txt is {'' if official else 'not '}the official one"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
