"""Folders below those of classes, and links."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lossbench.data.class_folders import SUFFIXES, files_below, list_classes
from lossbench.data.dataset import Dataset
from lossbench.data.image_files import ImageFileSplit
from lossbench.data.image_folder import load_image_folder
from lossbench.data.images import View
from lossbench.data.loading import load_dataset, own_folders
from lossbench.data.torchvision import torchvision
from lossbench.errors import DataError

FILES = ["a/1.png", "a/x/2.png", "a/x/deep/3.png", "a/z.png/4.png", "b/sub/1.png", "b/sub/2.png"]


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (len(name), 0, 0)).save(folder / name)


def names_in(folder: Path) -> list[str]:
    return [f"{k}/{name}" for k, files in list_classes(folder).images.items() for name, *_ in files]


def test_subfolders_of_a_class_are_read_as_by_torchvision(tmp_path: Path) -> None:
    write(tmp_path / "train", *FILES)
    dataset = load_image_folder(tmp_path)
    split = dataset.splits["train"]
    assert isinstance(split, ImageFileSplit)
    found = dict(zip(map(os.fsdecode, split.paths), split.labels.tolist(), strict=True))
    assert found == dict(torchvision.datasets.ImageFolder(tmp_path / "train").samples)
    assert len(found) == len(FILES)


def test_hidden_folders_are_skipped(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png", "b/.cache/2.png", "b/sub/.hidden/3.png", "b/sub/.4.png")
    assert names_in(tmp_path) == ["a/1.png", "b/1.png"]


def test_links_are_followed_but_not_loops(tmp_path: Path) -> None:
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


def test_message_names_an_unreadable_folder(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "b" / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="b/loop: cannot be read: Too many levels"):
        list_classes(tmp_path)
    assert [Path(entry.path).name for entry in files_below(tmp_path / "a")] == ["1.png"]


def test_message_lists_suffixes_if_a_class_has_only_other_files(tmp_path: Path) -> None:
    write(tmp_path / "photos", "a/1.png", "b/1.png")
    (tmp_path / "photos/a/1.png").rename(tmp_path / "photos/a/1.heic")
    with pytest.raises(
        DataError, match=r"/a: has no images, but files such as 1\.heic; known suffixes"
    ):
        load_dataset("photos", tmp_path)
    (tmp_path / "photos/b/1.png").rename(tmp_path / "photos/b/1.heic")
    with pytest.raises(
        DataError, match=r"not a data set; .* but files such as a/1\.heic; known suffixes"
    ):
        load_dataset("photos", tmp_path)
    (tmp_path / "photos/b/2.JFIF").write_bytes(b"not even an image")
    with pytest.raises(DataError, match=r"/a: has no images"):
        load_dataset("photos", tmp_path)


def test_parts_with_other_names_are_not_classes(tmp_path: Path) -> None:
    write(tmp_path / "photos", *(f"{part}/{k}/1.png" for part in ("fit", "rest") for k in "ab"))
    with pytest.raises(
        DataError, match=r"images such as fit/a/1\.png are too deep: put the folders"
    ):
        load_dataset("photos", tmp_path)
    assert own_folders(tmp_path) == []
    write(tmp_path / "loose", "1.png")
    with pytest.raises(DataError, match=r"; 1\.png should be in a folder of its class"):
        load_dataset("loose", tmp_path)


def test_folder_of_the_test_set(tmp_path: Path) -> None:
    write(tmp_path, "train/a/1.png", "train/b/1.png", "more/a/1.png")
    alone = load_image_folder(tmp_path)
    assert "test" not in alone.splits
    assert alone.no_test == "looked for test/, validation/, valid/, val/, dev/; found more/"
    assert alone.notes == ("not used: more/",)
    write(tmp_path, "test/a/1.png", "test/b/1.png")
    tested = load_image_folder(tmp_path)
    assert tested.no_test == ""
    assert tested.notes == ("not used: more/",)
    (tmp_path / "more").rename(tmp_path / ".more")
    assert load_image_folder(tmp_path).notes == ()


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_validation_folder_is_the_test_set_without_a_test_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path, *(f"{part}/{k}/1.png" for part in ("train", name) for k in "ab"))
    measured = load_image_folder(tmp_path, validation=True)
    assert list(measured.splits) == ["train", "test"]
    assert paths_of(measured, "test") == [f"{name}/a/1.png", f"{name}/b/1.png"]
    assert measured.notes == (f"{name}/ (2 images) is the test set: there is no other",)
    write(tmp_path, "test/a/1.png", "test/b/1.png", "test/b/2.png")
    plain = load_image_folder(tmp_path)
    assert paths_of(plain, "test") == ["test/a/1.png", "test/b/1.png", "test/b/2.png"]
    assert "validation" not in plain.splits
    [note] = plain.notes
    assert note.startswith(f"test/ (3 images) is tested; {name}/ is not used: `selection` with")
    both = load_image_folder(tmp_path, validation=True)
    assert paths_of(both, "validation") == [f"{name}/a/1.png", f"{name}/b/1.png"]
    assert both.notes == (f"test/ (3 images) is tested; `selection` chooses on {name}/ (2 images)",)
    assert both.digest == plain.digest  # the chosen rows are trained and tested on the same images
    write(tmp_path, f"{name}/a/3.png")
    later = load_image_folder(tmp_path, validation=True)
    assert later.digest == both.digest
    assert later.validation_digest not in (both.validation_digest, both.digest, "")


def test_folder_named_valid_may_be_a_class(tmp_path: Path) -> None:
    """Without train it is no part of the data set; `val` and `validation` are."""
    write(tmp_path / "parts", "valid/1.png", "invalid/1.png")
    assert load_dataset("parts", tmp_path).card.class_names == ["invalid", "valid"]
    write(tmp_path / "half", "validation/a/1.png", "validation/b/1.png")
    with pytest.raises(DataError, match="has validation, but no train"):
        load_dataset("half", tmp_path)


def paths_of(dataset: Dataset, split: str) -> list[str]:
    paths = dataset.splits[split].paths  # type: ignore[attr-defined]
    return ["/".join(os.fsdecode(path).split("/")[-3:]) for path in paths]


@pytest.mark.parametrize("suffix", sorted(SUFFIXES - {".apng", ".j2k", ".pnm"}))
def test_files_of_every_suffix_are_read(tmp_path: Path, suffix: str) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[8:] = 255
    for k in "ab":
        (tmp_path / k).mkdir()
        image = Image.fromarray(pixels)
        image = image.convert("1") if suffix == ".pbm" else image
        image.save(tmp_path / k / f"1{suffix}")
        (tmp_path / k / f"1{suffix}").rename(tmp_path / k / f"1{suffix.upper()}")
    dataset = load_image_folder(tmp_path)
    assert dataset.notes == ()
    [batch] = dataset.splits["train"].to_device(torch.device("cpu"), View(crop=16)).unaugmented()
    assert (batch.int() - torch.from_numpy(pixels).permute(2, 0, 1)).abs().max() < 12


def test_first_frame_of_a_gif_is_read(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a" / "2.gif", save_all=True, append_images=frames[1:])
    dataset = load_image_folder(tmp_path)
    assert dataset.splits["train"].labels.tolist() == [0, 0, 1]
    [batch] = dataset.splits["train"].to_device(torch.device("cpu"), View(crop=8)).unaugmented()
    assert batch[1, :, 0, 0].tolist() == [255, 0, 0]


def test_files_that_are_not_read_are_counted_and_named(tmp_path: Path) -> None:
    write(tmp_path, *(f"{part}/{k}/1.png" for part in ("train", "test") for k in "ab"))
    assert load_image_folder(tmp_path).notes == ()
    for name in ("train/a/2.heic", "train/a/3.HEIC", "test/b/notes.txt", "test/b/sub/raw"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    write(tmp_path, "test/loose.png")
    assert load_image_folder(tmp_path).notes == (
        "5 files are not read: 2 .heic, 1 .png, 1 .txt, 1 without suffix; such as train/a/2.heic",
    )
    write(tmp_path / "flat", "a/1.png", "b/1.png", "c.png")
    assert load_image_folder(tmp_path / "flat").notes == (
        "1 file is not read: 1 .png; such as c.png",
    )


@pytest.mark.parametrize("folder", [True, False])
def test_class_without_test_images_requires_a_setting(tmp_path: Path, folder: bool) -> None:
    write(tmp_path, *(f"train/{k}/1.png" for k in "abc"), "val/a/1.png", "val/c/1.png")
    if folder:
        (tmp_path / "val" / "b").mkdir()
    with pytest.raises(DataError, match="val: has no images for 1 of 3 classes, such as b"):
        load_image_folder(tmp_path)
    dataset = load_image_folder(tmp_path, missing_test_classes=True)
    assert dataset.splits["test"].labels.tolist() == [0, 2]
    assert dataset.notes[1] == "without images in val/: 1 of 3 classes, b"
    write(tmp_path, "val/d/1.png")
    with pytest.raises(DataError, match="train: lacks 1 of the 3 classes in val, such as d"):
        load_image_folder(tmp_path, missing_test_classes=True)
