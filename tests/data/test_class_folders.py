"""Folders below those of classes, and links."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from PIL import Image

from lossbench.data.class_folders import files_below, list_classes
from lossbench.data.dataset import Dataset
from lossbench.data.folder import FolderSplit
from lossbench.data.image_folder import load_folder
from lossbench.data.sources import load_dataset, own_folders
from lossbench.errors import DataError
from lossbench.torchvision_import import torchvision

FILES = ["a/1.png", "a/x/2.png", "a/x/deep/3.png", "a/z.png/4.png", "b/sub/1.png", "b/sub/2.png"]


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (len(name), 0, 0)).save(folder / name)


def names_in(folder: Path) -> list[str]:
    return [f"{k}/{name}" for k, files in list_classes(folder).items() for name, _ in files]


def test_folders_below_a_class_are_read_as_torchvision_does(tmp_path: Path) -> None:
    write(tmp_path / "train", *FILES)
    dataset = load_folder(tmp_path)
    split = dataset.splits["train"]
    assert isinstance(split, FolderSplit)
    found = dict(zip(map(os.fsdecode, split.paths), split.labels.tolist(), strict=True))
    assert found == dict(torchvision.datasets.ImageFolder(tmp_path / "train").samples)
    assert len(found) == len(FILES)
    listed = "".join(
        f"train/{name} {(tmp_path / 'train' / name).stat().st_size}\n" for name in FILES
    )
    assert dataset.digest == hashlib.sha256(listed.encode()).hexdigest()[:16]


def test_hidden_folders_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png", "b/.cache/2.png", "b/sub/.hidden/3.png", "b/sub/.4.png")
    assert names_in(tmp_path) == ["a/1.png", "b/1.png"]


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    write(data, "a/1.png", "a/sub/2.png", "b/1.png")
    write(elsewhere, "3.png")
    (data / "a" / "far").symlink_to(elsewhere)
    (data / "a" / "file.png").symlink_to(elsewhere / "3.png")
    (elsewhere / "again").symlink_to(elsewhere)  # itself
    (elsewhere / "home").symlink_to(data / "a")  # where the class begins
    (data / "a" / "sub" / "up").symlink_to("..")
    (data / "a" / "sub" / "top").symlink_to(data)  # other classes
    (data / "a" / "twice").symlink_to("sub")
    (data / "linked").symlink_to(elsewhere)
    assert names_in(data) == [
        "a/1.png", "a/far/3.png", "a/file.png", "a/sub/2.png", "b/1.png", "linked/3.png",
        "linked/home/1.png", "linked/home/file.png", "linked/home/sub/2.png",
    ]  # fmt: skip


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "b" / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="b/loop: cannot be read: Too many levels"):
        list_classes(tmp_path)
    assert [Path(entry.path).name for entry in files_below(tmp_path / "a")] == ["1.png"]


def test_suffixes_are_told_where_a_class_has_other_files_only(tmp_path: Path) -> None:
    write(tmp_path / "photos", "a/1.png", "b/1.png")
    (tmp_path / "photos/a/1.png").rename(tmp_path / "photos/a/1.heic")
    with pytest.raises(DataError, match=r"/a: has no images, but files such as 1\.heic; read are"):
        load_dataset("photos", tmp_path)
    (tmp_path / "photos/b/1.png").rename(tmp_path / "photos/b/1.heic")
    with pytest.raises(DataError, match=r"no data set; .* but files such as a/1\.heic; read are"):
        load_dataset("photos", tmp_path)
    (tmp_path / "photos/b/2.JFIF").write_bytes(b"not even an image")
    with pytest.raises(DataError, match=r"/a: has no images"):
        load_dataset("photos", tmp_path)


def test_splits_of_other_names_are_not_taken_for_classes(tmp_path: Path) -> None:
    write(tmp_path / "photos", *(f"{part}/{k}/1.png" for part in ("fit", "rest") for k in "ab"))
    with pytest.raises(DataError, match=r"images such as fit/a/1\.png lie deeper: put the folders"):
        load_dataset("photos", tmp_path)
    assert own_folders(tmp_path) == []
    write(tmp_path / "loose", "1.png")
    with pytest.raises(DataError, match=r"; 1\.png should be in a folder of its class"):
        load_dataset("loose", tmp_path)


def test_which_folder_is_the_test_set(tmp_path: Path) -> None:
    write(tmp_path, "train/a/1.png", "train/b/1.png", "more/a/1.png")
    alone = load_folder(tmp_path)
    assert "test" not in alone.splits
    assert alone.no_test == "looked for test/, validation/, valid/, val/, dev/; found more/"
    assert alone.notes == ("not used: more/",)
    write(tmp_path, "test/a/1.png", "test/b/1.png")
    tested = load_folder(tmp_path)
    assert tested.no_test == ""
    assert tested.notes == ("not used: more/",)
    (tmp_path / "more").rename(tmp_path / ".more")
    assert load_folder(tmp_path).notes == ()


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_a_validation_folder_is_tested_only_without_a_test_folder(
    tmp_path: Path, name: str
) -> None:
    write(tmp_path, *(f"{part}/{k}/1.png" for part in ("train", name) for k in "ab"))
    measured = load_folder(tmp_path, validation=True)
    assert list(measured.splits) == ["train", "test"]
    assert paths_of(measured, "test") == [f"{name}/a/1.png", f"{name}/b/1.png"]
    assert measured.notes == (f"{name}/ (2 images) is the test set: there is no other",)
    write(tmp_path, "test/a/1.png", "test/b/1.png", "test/b/2.png")
    plain = load_folder(tmp_path)
    assert paths_of(plain, "test") == ["test/a/1.png", "test/b/1.png", "test/b/2.png"]
    assert "validation" not in plain.splits
    [note] = plain.notes
    assert note.startswith(f"test/ (3 images) is tested; {name}/ is not used: `selection` with")
    both = load_folder(tmp_path, validation=True)
    assert paths_of(both, "validation") == [f"{name}/a/1.png", f"{name}/b/1.png"]
    assert both.notes == (f"test/ (3 images) is tested; `selection` chooses on {name}/ (2 images)",)
    assert both.digest == plain.digest  # the chosen rows are trained and tested on the same images
    write(tmp_path, f"{name}/a/3.png")
    later = load_folder(tmp_path, validation=True)
    assert later.digest == both.digest
    assert later.validation_digest not in (both.validation_digest, both.digest, "")


def test_a_folder_named_valid_may_be_a_class(tmp_path: Path) -> None:
    """Without train it is no part of the data set; `val` and `validation` are."""
    write(tmp_path / "parts", "valid/1.png", "invalid/1.png")
    assert load_dataset("parts", tmp_path).card.class_names == ["invalid", "valid"]
    write(tmp_path / "half", "validation/a/1.png", "validation/b/1.png")
    with pytest.raises(DataError, match="has validation, but no train"):
        load_dataset("half", tmp_path)


def paths_of(dataset: Dataset, split: str) -> list[str]:
    paths = dataset.splits[split].paths  # type: ignore[attr-defined]
    return ["/".join(os.fsdecode(path).split("/")[-3:]) for path in paths]
