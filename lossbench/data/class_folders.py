"""Listing of the image files in a folder of classes: CLASS/*.jpg, in subfolders at any depth.

Hidden files and folders are skipped, as are those added by archives and file servers. Links are
followed, except to folders that were read already and to folders that contain the link or the
class, because these contain other classes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lossbench.data.content_digest import FileState, file_state
from lossbench.errors import DataError

SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
"""Suffixes of image files: those formats of Pillow that are used for photographs and drawings."""

LEFTOVERS = ("__MACOSX", "@eaDir")
"""Folders added by macOS archives and Synology servers; they contain no images of the data set."""


class ImageFile(NamedTuple):
    """Image file of a class.

    Attributes:
        name: Path relative to the folder of the class.
        state: State of the file, such as size and times.
    """

    name: str
    state: FileState


@dataclass(frozen=True)
class Listing:
    """Files in the folders of classes.

    Attributes:
        images: Class -> its image files, sorted.
        skipped: Other files below the folder, and images outside the folders of classes.
    """

    images: dict[str, list[ImageFile]]
    skipped: tuple[str, ...]


def list_classes(folder: Path, *, may_lack: bool = False) -> Listing:
    """List the images of every class.

    Args:
        folder: Folder with one subfolder per class.
        may_lack: Whether classes may have no images; these are left out then.

    Raises:
        DataError: There are fewer than two classes (with `may_lack`, none), a class has no images,
            or a file is empty or cannot be read.
    """
    try:
        entries = sorted(visible(folder), key=lambda entry: entry.name)
        classes = [entry.name for entry in entries if entry.is_dir()]
        loose = [e.name for e in entries if not e.is_dir() and is_image(e.name)]
    except FileNotFoundError:
        raise DataError(f"{folder}: no such folder") from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from None
    if len(classes) < (1 if may_lack else 2):
        raise DataError(f"{folder}: should have a folder for each of two or more classes")
    with ThreadPoolExecutor() as pool:  # network file systems are slow per file
        listed = pool.map(lambda k: _list_class(folder / k, may_lack), classes)
        found = dict(zip(classes, listed, strict=True))
    images = {k: files for k, (files, _) in found.items() if files}
    others = [f"{k}/{name}" for k, (_, skipped) in found.items() for name in skipped]
    return Listing(images, (*loose, *others))


def describe_skipped(skipped: list[str]) -> str:
    """Line on files that are not read: their number per suffix, and an example."""
    count = Counter(os.path.splitext(name)[1].lower() or "without suffix" for name in skipped)
    kinds = ", ".join(f"{n:,} {suffix}" for suffix, n in count.most_common(6))
    more = ", ..." if len(count) > 6 else ""
    files = "file is" if len(skipped) == 1 else "files are"
    return f"{len(skipped):,} {files} not read: {kinds}{more}; such as {skipped[0]}"


def visible(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """Entries of a folder, without hidden ones and those added by other programs.

    Raises:
        OSError: The folder cannot be read.
    """
    with os.scandir(folder) as entries:
        yield from (e for e in entries if not e.name.startswith(".") and e.name not in LEFTOVERS)


def files_below(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """Visible files in a folder and its subfolders, each of which is read once.

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
    """Whether a file name has the suffix of an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def suffixes_hint(others: list[str]) -> str:
    """End of a message on the suffixes that are read, if there are files with others."""
    if not others:
        return ""
    return f", but files such as {others[0]}; known suffixes: {', '.join(sorted(SUFFIXES))}"


def _list_class(folder: Path, may_lack: bool) -> tuple[list[ImageFile], list[str]]:
    """Image files and other files of a class."""
    start = str(folder)
    files, others = [], []
    try:
        for entry in files_below(folder):
            name = entry.path[len(start) + 1 :]
            if is_image(entry.name):
                files.append(ImageFile(name, file_state(entry.stat())))
            else:
                others.append(name)
    except OSError as error:  # includes broken links
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None
    if not files and not may_lack:
        hint = suffixes_hint(others) or "; was the data set extracted completely?"
        raise DataError(f"{folder}: has no images{hint}")
    files.sort()
    empty = [file.name for file in files if not file.state.size]
    if empty:
        raise DataError(f"{folder / empty[0]}: is empty; was the data set extracted completely?")
    return files, others
