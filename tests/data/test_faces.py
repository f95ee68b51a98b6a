from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lossbench.data.faces import (
    fetch_lfw,
    fetch_lfw_within,
    load_faces,
    people_outside_folds,
    read_pairs,
)
from lossbench.data.prepared import array_digest
from lossbench.errors import DataError, RequestError
from lossbench.evaluation.verification import cosine_similarity, verification_accuracy

pytestmark = pytest.mark.long

FILES = [f"{name}_{i:04d}.jpg" for name in ("Ann_Ash", "Bo", "Cy_B._Coe", "Di") for i in (1, 2, 3)]
PAIRS = """\
2\t2
Ann_Ash\t1\t2
Bo\t1\t3
Ann_Ash\t1\tBo\t2
Bo\t2\tAnn_Ash\t3
Cy_B._Coe\t2\t3
Cy_B._Coe\t1\t3
Cy_B._Coe\t1\tBo\t1
Cy_B._Coe\t3\tBo\t2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "faces"
    root.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (len(FILES), 4, 5, 3), dtype=np.uint8)
    labels = np.arange(len(FILES)) // 3
    np.save(root / "images.npy", images)
    np.save(root / "labels.npy", labels)
    (root / "pairs.txt").write_text(PAIRS, encoding="utf-8")
    card = {
        "name": "faces",
        "num_classes": 4,
        "class_names": ["Ann_Ash", "Bo", "Cy_B._Coe", "Di"],
        "source": "random",
        "files": FILES,
        "sha256": {"images": array_digest(images), "labels": array_digest(labels)},
    }
    (root / "dataset.json").write_text(json.dumps(card), encoding="utf-8")
    return root


def test_pairs_are_read(folder: Path) -> None:
    pairs = read_pairs(folder / "pairs.txt", FILES)
    assert pairs.first.tolist() == [0, 3, 0, 4, 7, 6, 6, 8]
    assert pairs.second.tolist() == [1, 5, 4, 2, 8, 8, 3, 4]
    assert pairs.same.tolist() == [True, True, False, False] * 2
    assert pairs.fold.tolist() == [1] * 4 + [2] * 4
    assert pairs.first.dtype == pairs.second.dtype == pairs.fold.dtype == np.int64
    assert pairs.same.dtype == bool
    second = pairs.in_folds([2])
    assert second.first.tolist() == [7, 6, 6, 8]
    assert second.second.tolist() == [8, 8, 3, 4]
    assert second.same.tolist() == [True, True, False, False]
    assert second.fold.tolist() == [2] * 4


def swap(old: str, new: str) -> Callable[[Path], Any]:
    def change(path: Path) -> None:
        assert old in PAIRS
        path.write_text(PAIRS.replace(old, new, 1), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("breakage", "expected"),
    [
        (Path.unlink, "pairs.txt: cannot be read: No such file"),
        (lambda p: p.write_bytes(b"\xff\xfe2"), "pairs.txt: cannot be read: is not a text file"),
        (
            lambda p: p.write_text("", encoding="utf-8"),
            "pairs.txt:1: should be the number of folds and of pairs",
        ),
        (swap("2\t2\n", "2\n"), "pairs.txt:1: should be"),
        (swap("2\t2\n", "2 \u00b2\n"), "pairs.txt:1: should be"),
        (swap("2\t2\n", "0 2\n"), "pairs.txt:1: should be"),
        (swap("2\t2\n", "3\t2\n"), "8 pairs, but 3 folds of 2 x 2 are 12; is the file complete?"),
        (swap("Bo\t1\t3\n", ""), "7 pairs, but 2 folds of 2 x 2 are 8"),
        (swap("Bo\t1\t3", "Bo\t1"), "pairs.txt:3: should be NAME I J, not 'Bo 1'"),
        (swap("Bo\t1\t3", "Bo\t1\tx"), "pairs.txt:3: should be NAME I J, not 'Bo 1 x'"),
        (swap("Bo\t1\t3", "Bo\t1\t\u00b2"), "pairs.txt:3: should be NAME I J"),
        (swap("Bo\t1\t3", "Bo\t1\tBo\t3"), "pairs.txt:3: should be NAME I J, not 'Bo 1 Bo 3'"),
        (swap("Ann_Ash\t1\tBo\t2", "Bo\t1\t2"), "pairs.txt:4: should be NAME I OTHER J"),
        (swap("Bo\t1\t3", "\n\nBo\t1\t4"), "pairs.txt:5: there is no face Bo_0004.jpg; Bo has 3"),
        (swap("Coe\t3\tBo", "Coe\t3\tBob"), "pairs.txt:9: there is no"),
        (swap("Ann_Ash\t1\t2", "AnnAsh\t1\t2"), "face AnnAsh_0001.jpg; did you mean 'Ann_Ash'?"),
        (swap("Ann_Ash\t1\t2", "Xyz\t1\t2"), "pairs.txt:2: there is no face Xyz_0001.jpg"),
    ],
)
def test_broken_pairs_are_refused(
    folder: Path, breakage: Callable[[Path], Any], expected: str
) -> None:
    breakage(folder / "pairs.txt")
    with pytest.raises(DataError) as caught:
        load_faces(folder)
    assert expected in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "known" not in str(caught.value)  # of 5,749 people
    assert isinstance(caught.value, RequestError)
    assert caught.value.exit_code == 2


def test_faces_are_memory_mapped(folder: Path) -> None:
    faces = load_faces(folder)
    assert isinstance(faces.images, np.memmap)
    assert faces.images.shape == (12, 4, 5, 3)
    assert faces.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert list(faces.people) == ["Ann_Ash", "Bo", "Cy_B._Coe", "Di"]
    assert len(faces.pairs.same) == 8


def change_card(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / "dataset.json").read_text(encoding="utf-8")) | changes
    (folder / "dataset.json").write_text(json.dumps(card), encoding="utf-8")


def save(folder: Path, name: str, array: np.ndarray) -> None:
    """With its digest, as if it had been so from the beginning."""
    np.save(folder / f"{name}.npy", array)
    card = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    change_card(folder, sha256=card["sha256"] | {name: array_digest(array)})


def test_the_digest_is_of_images_labels_and_pairs(folder: Path) -> None:
    digests = [load_faces(folder).digest, load_faces(folder, verify=False).digest]
    assert digests[0] == digests[1]
    (folder / "pairs.txt").write_text(PAIRS.replace("Bo\t1\t3", "Bo\t1\t2"), encoding="utf-8")
    digests[1] = load_faces(folder).digest
    (folder / "pairs.txt").write_text(PAIRS, encoding="utf-8")
    save(folder, "images", np.zeros((12, 4, 5, 3), np.uint8))
    digests.append(load_faces(folder).digest)
    turned = np.arange(12)[::-1] // 3
    change_card(folder, class_names=["Di", "Cy_B._Coe", "Bo", "Ann_Ash"])
    save(folder, "labels", turned.copy())
    digests.append(load_faces(folder).digest)
    assert len(set(digests)) == 4


@pytest.mark.parametrize(
    ("breakage", "expected"),
    [
        (lambda f: (f / "dataset.json").unlink(), "dataset.json is missing"),
        (
            lambda f: (f / "dataset.json").write_text("{", encoding="utf-8"),
            "dataset.json: invalid JSON",
        ),
        (lambda f: change_card(f, files=None), "dataset.json: files: should be"),
        (lambda f: change_card(f, files=FILES[:-1]), "dataset.json: 11 files and 4 class_names"),
        (lambda f: change_card(f, files=[*FILES[:-1], FILES[0]]), "has Ann_Ash_0001.jpg twice"),
        (lambda f: change_card(f, class_names=["Bo"]), "12 files and 1 class_names for 12 images"),
        (lambda f: change_card(f, sha256={}), "dataset.json: sha256.images is missing"),
        (lambda f: (f / "images.npy").unlink(), "images.npy: no such file"),
        (lambda f: (f / "labels.npy").unlink(), "labels.npy: no such file"),
        (
            lambda f: (f / "images.npy").write_bytes((f / "images.npy").read_bytes()[:-10]),
            "images.npy: is not a complete .npy array",
        ),
        (lambda f: save(f, "images", np.zeros((12, 4, 5))), "should be uint8 (N, H, W, C)"),
        (lambda f: save(f, "images", np.zeros((0, 4, 5, 3), np.uint8)), "images.npy: is empty"),
        (lambda f: save(f, "images", np.zeros((11, 4, 5, 3), np.uint8)), "should be int64 (11,)"),
        (lambda f: save(f, "labels", np.zeros(12)), "labels.npy: should be int64 (12,)"),
        (lambda f: save(f, "labels", np.arange(12) // 2), "labels outside 0 to 3"),
        (lambda f: save(f, "labels", np.arange(12) // 3 - 1), "labels outside 0 to 3"),
        (
            lambda f: save(f, "labels", np.arange(12) % 4),
            "labels.npy: image 1 is Bo, but Ann_Ash_0002.jpg in dataset.json",
        ),
        (
            lambda f: np.save(f / "images.npy", np.zeros((12, 4, 5, 3), np.uint8)),
            "images.npy: its sha256 is not that of dataset.json",
        ),
        (
            lambda f: np.save(f / "labels.npy", np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 1])),
            "labels.npy: ",
        ),
    ],
)
def test_broken_folder_is_refused(
    folder: Path, breakage: Callable[[Path], Any], expected: str
) -> None:
    breakage(folder)
    with pytest.raises(DataError) as caught:
        load_faces(folder)
    assert expected in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_content_is_not_read_without_verify(folder: Path) -> None:
    np.save(folder / "images.npy", np.zeros((12, 4, 5, 3), np.uint8))
    assert load_faces(folder, verify=False).images.max() == 0


def test_pairs_in_dataset_json_are_read(folder: Path) -> None:
    """Pairs in `dataset.json` of a prepared folder are used unless there is a `pairs.txt`."""
    expected = load_faces(folder).pairs.first.tolist()
    change_card(folder, pairs=PAIRS.replace("Bo\t1\t3", "Bo\t2\t3"))
    assert load_faces(folder).pairs.first.tolist() == expected
    (folder / "pairs.txt").unlink()
    assert load_faces(folder).pairs.first.tolist() != expected


def test_people_outside_the_tested_folds(folder: Path) -> None:
    """By hand: fold 1 has Ann and Bo, fold 2 Bo and Cy."""
    faces = load_faces(folder)
    arrays, people = people_outside_folds(faces, folds=[1], min_images=2)
    assert people == ["Cy_B._Coe", "Di"]
    assert arrays["train_labels"].tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(arrays["train_images"], faces.images[6:])
    assert people_outside_folds(faces, folds=[2])[1] == ["Ann_Ash", "Di"]
    assert people_outside_folds(faces, folds=[1, 2])[1] == ["Di"]
    assert people_outside_folds(faces, folds=[1], min_images=4)[1] == []


def test_too_few_people_outside_the_tested_folds(folder: Path) -> None:
    folder.rename(folder.parent / "lfw")
    with pytest.raises(DataError, match="lfw: has 1 people with 3 or more images"):
        fetch_lfw_within(folder.parent)
    with pytest.raises(DataError, match="no such folder"):
        fetch_lfw_within(folder)


def test_published_folders_are_read(tmp_path: Path) -> None:
    for file in FILES:
        path = tmp_path / "lfw" / file[:-9] / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), (FILES.index(file) * 20, 0, 0)).save(path)
    (tmp_path / "lfw" / "pairs.txt").write_text(PAIRS, encoding="utf-8")
    arrays, card = fetch_lfw(tmp_path)
    assert card.files == FILES
    assert card.pairs == PAIRS
    assert card.class_names == ["Ann_Ash", "Bo", "Cy_B._Coe", "Di"]
    assert arrays["labels"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert arrays["images"].shape == (12, 4, 5, 3)
    reds = arrays["images"][:, 0, 0, 0].astype(int)
    assert np.abs(reds - 20 * np.arange(12)).max() <= 3  # JPEG
    Image.new("RGB", (6, 4)).save(path)
    with pytest.raises(DataError, match=r"Di_0003.jpg: is \(4, 6, 3\) instead of \(4, 5, 3\)"):
        fetch_lfw(tmp_path)


def test_real_lfw(real_lfw: Path) -> None:
    """Trained on no one who is tested; the parser against the file's text; pixels beat chance."""
    folder = real_lfw / "lfw"
    faces = load_faces(folder, verify=False)
    pairs = faces.pairs
    assert len(pairs.same) == 6000
    assert np.bincount(pairs.fold).tolist() == [0] + [600] * 10
    assert np.array_equal(faces.labels[pairs.first] == faces.labels[pairs.second], pairs.same)

    lines = (folder / "pairs.txt").read_text(encoding="utf-8").splitlines()[1:]
    tested = {word for line in lines[:3000] for word in re.findall(r"[^\t]*[^\t\d][^\t]*", line)}
    arrays, people = people_outside_folds(faces)
    assert len(tested) > 2000
    assert tested.isdisjoint(people)
    assert (len(people), len(arrays["train_images"])) == (485, 4261)
    counts = np.bincount(arrays["train_labels"])
    assert len(counts) == len(people)
    assert counts.min() == 3
    owner = list(faces.people).index(people[100])
    mine = arrays["train_images"][arrays["train_labels"] == 100]
    assert np.array_equal(mine, faces.images[faces.labels == owner])

    small = faces.images[:, 16:80:4, 16:80:4].astype(np.float32).mean(-1).reshape(13233, -1)
    small -= small.mean(1, keepdims=True)
    found = verification_accuracy(
        cosine_similarity(small[pairs.first], small[pairs.second]), pairs.same, pairs.fold
    )
    assert 57 < found.mean < 70
    assert found.std < 4
