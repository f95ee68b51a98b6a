"""Which image files a folder of classes has: CLASS/*.jpg, and folders below a class at any depth.

Hidden files and folders are left out. Links are followed; what was read already is not read again,
nor is a folder that the link or the class lies in: other classes are in there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lossbench.data.decoding import SUFFIXES
from lossbench.errors import DataError

Listed = dict[str, list[tuple[str, int]]]
"""Class -> its files by their paths below the folder of the class, with their sizes; sorted."""


def list_classes(folder: Path) -> Listed:
    """The images of every class.

    Raises:
        DataError: There are not two classes, or a class has no images, or a file is empty or
            cannot be read.
    """
    try:
        classes = sorted(entry.name for entry in visible(folder) if entry.is_dir())
    except FileNotFoundError:
        raise DataError(f"{folder}: no such folder") from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from None
    if len(classes) < 2:
        raise DataError(f"{folder}: should have a folder for each of two or more classes")
    with ThreadPoolExecutor() as pool:  # a network's file system takes its time for each size
        return dict(zip(classes, pool.map(_list_class, [folder / k for k in classes]), strict=True))


def visible(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder, but for the hidden.

    Raises:
        OSError: It cannot be read.
    """
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))


def files_below(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """Visible files in a folder and the folders below it, each of which is read once.

    Raises:
        OSError: A folder cannot be read.
    """
    top = os.path.realpath(folder)
    return _files_below(str(folder), top, top, {top})


def _files_below(folder: str, real: str, top: str, read: set[str]) -> Iterator[os.DirEntry[str]]:
    for entry in sorted(visible(folder), key=lambda entry: entry.name):
        if not entry.is_dir():
            yield entry
            continue
        target = os.path.join(real, entry.name)
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            if any(os.path.commonpath([target, inner]) == target for inner in (real, top)):
                continue
        if target not in read:
            read.add(target)
            yield from _files_below(entry.path, target, top, read)


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def suffixes_hint(others: list[str]) -> str:
    """End of a message: which suffixes are read, if there are files with others."""
    if not others:
        return ""
    return f", but files such as {others[0]}; read are {', '.join(sorted(SUFFIXES))}"


def _list_class(folder: Path) -> list[tuple[str, int]]:
    start = str(folder)
    files, others = [], []
    try:
        for entry in files_below(folder):
            name = entry.path[len(start) + 1 :]
            if is_image(entry.name):
                files.append((name, entry.stat().st_size))
            else:
                others.append(name)
    except OSError as error:  # also a link that leads nowhere
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None
    if not files:
        hint = suffixes_hint(others) or "; was the data set extracted completely?"
        raise DataError(f"{folder}: has no images{hint}")
    files.sort()
    empty = [name for name, size in files if not size]
    if empty:
        raise DataError(f"{folder / empty[0]}: is empty; was the data set extracted completely?")
    return files
