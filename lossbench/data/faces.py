"""Labeled Faces in the Wild (LFW): faces, pairs, and a training set of people outside folds 1 to 5.

images.npy    uint8 (N, H, W, C)
labels.npy    int64 (N,), the person
dataset.json  name, num_classes, class_names (the people), files (Name_0001.jpg, ...), source,
              sha256 of each array
pairs.txt     the pairs of the protocol
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lossbench.data.dataset import Card
from lossbench.data.decoding import decode
from lossbench.data.official_files import describe_lfw
from lossbench.data.prepared import (
    Arrays,
    array_digest,
    joined_digest,
    make_card,
    read_array,
    read_card,
)
from lossbench.errors import DataError, did_you_mean

TESTED_FOLDS = (1, 2, 3, 4, 5)
"""Folds whose people are not in the training set `lfw_within`."""
MIN_IMAGES = 3
"""Smallest number of images of a person in the training set `lfw_within`."""


class FaceCard(Card):
    """Content of `dataset.json` for faces.

    Attributes:
        files: Name of each image, such as NAME_0001.jpg.
        pairs: Text of `pairs.txt`, used if there is no such file.
    """

    files: list[str]
    pairs: str = ""


@dataclass(frozen=True)
class Pairs:
    """Pairs of faces.

    Attributes:
        first: (P,) Index of the first image of each pair.
        second: (P,) Index of the second image of each pair.
        same: (P,) Whether both are of the same person.
        fold: (P,) Number of the fold of each pair, from 1.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]

    def in_folds(self, folds: Iterable[int]) -> Pairs:
        """Pairs of some folds."""
        kept = np.isin(self.fold, list(folds))
        return Pairs(self.first[kept], self.second[kept], self.same[kept], self.fold[kept])


@dataclass(frozen=True)
class FaceSet:
    """Faces with their pairs.

    Attributes:
        images: uint8 (N, H, W, C)
        labels: (N,) Number of the person in each image.
        people: Names of the people, in the order of the labels.
        pairs: Pairs of all folds.
        digest: Digest of images, labels and pairs.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    people: Sequence[str]
    pairs: Pairs
    digest: str


def load_faces(folder: Path, *, verify: bool = True) -> FaceSet:
    """Open a folder of the form above.

    Args:
        folder: Folder with `images.npy`, `labels.npy`, `dataset.json` and `pairs.txt`.
        verify: Whether to read every byte and compare it with the digests in `dataset.json`.

    Raises:
        DataError: A file is missing or wrong, or a pair names a missing face.
    """
    card = read_card(folder / "dataset.json", FaceCard)
    images, labels = (read_array(folder / f"{name}.npy") for name in ("images", "labels"))
    if images.dtype != np.uint8 or images.ndim != 4:
        wrong = f"{images.dtype} {images.shape}"
        raise DataError(f"{folder / 'images.npy'}: should be uint8 (N, H, W, C), not {wrong}")
    if not len(images):
        raise DataError(f"{folder / 'images.npy'}: is empty")
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise DataError(f"{folder / 'labels.npy'}: should be int64 ({len(images)},)")
    if len(card.files) != len(images) or len(card.class_names) != card.num_classes:
        raise DataError(
            f"{folder / 'dataset.json'}: {len(card.files)} files and {len(card.class_names)} "
            f"class_names for {len(images)} images of {card.num_classes} people"
        )
    if not (labels.min() >= 0 and labels.max() < card.num_classes):
        raise DataError(f"{folder / 'labels.npy'}: labels outside 0 to {card.num_classes - 1}")
    _require_matching_names(folder, card, labels)
    for name, array in (("images", images), ("labels", labels)):
        if name not in card.sha256:
            raise DataError(f"{folder / 'dataset.json'}: sha256.{name} is missing")
        if verify and array_digest(array) != card.sha256[name]:
            raise DataError(
                f"{folder / f'{name}.npy'}: its sha256 is not that of dataset.json; the file was "
                "changed or is incomplete"
            )
    path = folder / "pairs.txt"
    pairs = read_pairs(path, card.files, "" if path.exists() else card.pairs)
    arrays = (pairs.first, pairs.second, pairs.same, pairs.fold)
    of_pairs = [array_digest(array) for array in arrays]
    digest = joined_digest([card.sha256["images"], card.sha256["labels"], *of_pairs])
    return FaceSet(images, labels, card.class_names, pairs, digest)  # type: ignore[arg-type]


def _require_matching_names(folder: Path, card: FaceCard, labels: NDArray[np.generic]) -> None:
    """Require that file names and labels agree: pairs use the former, training the latter.

    Raises:
        DataError: They do not, or a file name occurs twice.
    """
    if len(set(card.files)) < len(card.files):
        twice = next(file for file in card.files if card.files.count(file) > 1)
        raise DataError(f"{folder / 'dataset.json'}: files has {twice} twice")
    for index, (file, label) in enumerate(zip(card.files, labels.tolist(), strict=True)):
        if _person(Path(file).stem) != (person := card.class_names[label]):
            raise DataError(
                f"{folder / 'labels.npy'}: image {index} is {person}, but {file} in dataset.json"
            )


def read_pairs(path: Path, files: Sequence[str], text: str = "") -> Pairs:
    """Read LFW's `pairs.txt`.

    The first line has the numbers of folds F and of pairs P. Each fold has P lines `NAME I J` for
    pairs of the same person, and P lines `NAME I OTHER J` for pairs of different people.

    Args:
        path: Path of the file.
        files: Name of each image, `NAME_0001.jpg` for the first of NAME.
        text: Content of the file, if it is known already.

    Raises:
        DataError: The file is missing or broken, or names a face that is not among the files.
    """
    try:
        lines = (text or path.read_text(encoding="utf-8")).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not a text file"
        raise DataError(f"{path}: cannot be read: {reason}") from None
    place = {Path(file).stem: index for index, file in enumerate(files)}
    header = lines[0].split() if lines else []
    if len(header) != 2 or not all(word.isdecimal() and int(word) for word in header):
        raise DataError(f"{path}:1: should be the number of folds and of pairs, such as 10 300")
    folds, count = map(int, header)
    rows = [(at, line.split()) for at, line in enumerate(lines[1:], 2) if line.strip()]
    if len(rows) != 2 * folds * count:
        raise DataError(
            f"{path}: {len(rows)} pairs, but {folds} folds of 2 x {count} are {2 * folds * count}; "
            "is the file complete?"
        )
    first, second, same = [], [], []
    for number, (at, row) in enumerate(rows):
        matched = number // count % 2 == 0
        faces = [row[:2], [row[0], row[-1]]] if matched else [row[:2], row[2:]]
        if len(row) != (3 if matched else 4) or not all(face[-1].isdecimal() for face in faces):
            form = "NAME I J" if matched else "NAME I OTHER J"
            raise DataError(f"{path}:{at}: should be {form}, not {' '.join(row)!r}")
        found = [_find(face, place, f"{path}:{at}") for face in faces]
        first.append(found[0])
        second.append(found[1])
        same.append(matched)
    fold = np.repeat(np.arange(1, folds + 1), 2 * count)
    return Pairs(np.array(first), np.array(second), np.array(same), fold)


def _find(face: Sequence[str], place: dict[str, int], where: str) -> int:
    name, number = face
    stem = f"{name}_{int(number):04d}"
    if stem in place:
        return place[stem]
    people = Counter(map(_person, place))
    if name in people:
        hint = f"; {name} has {people[name]}"
    else:  # without the list of all 5,749 people
        hint = did_you_mean(name, people).partition(" (known: ")[0]
    raise DataError(f"{where}: there is no face {stem}.jpg{hint}")


def _person(stem: str) -> str:
    return stem.rpartition("_")[0]


def people_outside_folds(
    faces: FaceSet, folds: Sequence[int] = TESTED_FOLDS, min_images: int = MIN_IMAGES
) -> tuple[dict[str, NDArray[np.generic]], list[str]]:
    """Training set of the people who are in no pair of the tested folds.

    Five of the ten folds are tested: outside all ten, only 52 people have two or more images;
    outside five, 906 people with 5,103 images. Of these, 485 people have three or more images,
    4,261 in total. The other 421 people would nearly double the number of classes for a fifth more
    images; a minimum of five images would halve the number of people, to 226 with 3,383 images.

    Args:
        faces: Faces and pairs of LFW.
        folds: Tested folds.
        min_images: Smallest number of images of a person, >= 1.

    Returns:
        `train_images` and `train_labels`, with people renumbered; and the names of the people.
    """
    tested = faces.pairs.in_folds(folds)
    seen = np.unique(faces.labels[np.concatenate([tested.first, tested.second])])
    count = np.bincount(faces.labels, minlength=len(faces.people))
    count[seen] = 0
    people = np.flatnonzero(count >= min_images)
    chosen = np.flatnonzero(np.isin(faces.labels, people))
    arrays: dict[str, NDArray[np.generic]] = {
        "train_images": faces.images[chosen],
        "train_labels": np.searchsorted(people, faces.labels[chosen]),
    }
    return arrays, [faces.people[int(person)] for person in people]


def fetch_lfw_within(data_root: Path) -> tuple[Arrays, Card]:
    """Create the data set `lfw_within` with `people_outside_folds` from `data_root/lfw`.

    Raises:
        DataError: There are no faces, or too few people.
    """
    folder = data_root / "lfw"
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; lfw_within is made from the faces there")
    arrays, people = people_outside_folds(load_faces(folder, verify=False))
    if len(people) < 2:
        raise DataError(
            f"{folder}: has {len(people)} people with {MIN_IMAGES} or more images in no pair of "
            "folds 1 to 5; lfw_within needs two"
        )
    note = "people in no pair of LFW's folds 1 to 5, with three or more images; no test images"
    return arrays, make_card("lfw_within", people, "lfw", note, arrays)


def fetch_lfw(downloads: Path) -> tuple[Arrays, FaceCard]:
    """Read LFW as published: `lfw/NAME/NAME_0001.jpg`, of the same size, and `lfw/pairs.txt`.

    Args:
        downloads: Download folder with the folder `lfw`.

    Raises:
        OSError: A folder or file is missing.
        DataError: An image does not decode, sizes differ, or a pair names a missing face.
    """
    folder = downloads / "lfw"
    text = (folder / "pairs.txt").read_text(encoding="utf-8")
    paths = sorted(folder.glob("*/*.jpg"))
    if not paths:
        raise FileNotFoundError(f"no images in {folder}")
    people = sorted({path.parent.name for path in paths})
    number = {person: index for index, person in enumerate(people)}
    images = [np.asarray(decode(path).permute(1, 2, 0)) for path in paths]
    odd = next((i for i, image in enumerate(images) if image.shape != images[0].shape), None)
    if odd is not None:
        sizes = f"{images[odd].shape} instead of {images[0].shape}"
        raise DataError(f"{paths[odd]}: is {sizes}; all faces should have the same size")
    files = [path.name for path in paths]
    read_pairs(folder / "pairs.txt", files)
    arrays: Arrays = {
        "images": np.stack(images),
        "labels": np.array([number[path.parent.name] for path in paths], np.int64),
    }
    note = describe_lfw(len(files), len(people), (folder / "pairs.txt").read_bytes())
    card = make_card("lfw", people, "LFW", note, arrays)
    return arrays, FaceCard(**card.model_dump(), files=files, pairs=text)
