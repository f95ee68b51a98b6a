"""Only files of known digests are called official."""

from __future__ import annotations

import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lossbench.data.official_files import ARRAY_DIGESTS, FILES, describe_lfw
from lossbench.data.prepared import array_digest, load_prepared
from lossbench.data.sources import describe_prepared, prepare
from lossbench.errors import DataError

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
Run = Callable[..., tuple[int, str, str]]
NAMES = tuple(FILES["mnist"])


def write_black(root: Path) -> Path:
    """600 black images and as many labels 0 under MNIST's names."""
    raw = root / "downloads" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = struct.pack(">iiii", 2051, 600, 28, 28) + bytes(600 * 28 * 28)
    labels = struct.pack(">ii", 2049, 600) + bytes(600)
    for name in NAMES:
        content = images if "images" in name else labels
        (root / "downloads" / name).write_bytes(content)
    return raw


@pytest.fixture
def official_mnist(tmp_path: Path) -> Path:
    """A data root with the official files, unpacked by hand."""
    packed = SHARED_DATA / "mnist"
    if not packed.is_dir():
        pytest.skip("the packed data sets (../shared/data) are not next to this checkout")
    raw = tmp_path / "downloads" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in packed.glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    return tmp_path


def test_black_images_are_not_official_mnist(tmp_path: Path, run: Run) -> None:
    write_black(tmp_path)
    code, out, err = run("data", "prepare", "mnist", "--data-root", tmp_path)
    assert (code, out) == (2, "")
    assert "train-images-idx3-ubyte: is not the official file of mnist" in err
    assert not (tmp_path / "mnist").exists()


@pytest.mark.parametrize("name", NAMES)
def test_message_names_a_file_with_other_content(tmp_path: Path, name: str) -> None:
    path = tmp_path / "downloads" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no images")
    with pytest.raises(DataError, match=f"{path.name}: is not the official file"):
        prepare("mnist", tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_changed_byte_is_detected(official_mnist: Path, name: str) -> None:
    path = official_mnist / "downloads" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path.name}: is not the official file"):
        prepare("mnist", official_mnist)


def test_official_files_are_called_official(official_mnist: Path, run: Run) -> None:
    code, out, _ = run("data", "prepare", "mnist", "--data-root", official_mnist)
    assert code == 0
    assert out == f"mnist is in {official_mnist / 'mnist'}: the official images and labels\n"
    card = load_prepared(official_mnist / "mnist").card
    assert card.note == "official: its files have the known digests"
    assert card.sha256 == ARRAY_DIGESTS["mnist"]


def test_tensors_of_old_torchvision_versions_are_checked(tmp_path: Path) -> None:
    """torchvision takes them without looking at any file of raw/."""
    folder = tmp_path / "downloads" / "MNIST" / "processed"
    folder.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        images = torch.zeros(20, 28, 28, dtype=torch.uint8)
        torch.save((images, torch.arange(20) % 10), folder / name)
    with pytest.raises(DataError, match=r"train_images and train_labels and .* not the official"):
        prepare("mnist", tmp_path)
    assert not (tmp_path / "mnist").exists()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_torchvision_refuses_other_files_of_cifar(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lossbench.data.torchvision import torchvision

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", refuse)
    kind = torchvision.datasets.CIFAR10 if name == "cifar10" else torchvision.datasets.CIFAR100
    folder = tmp_path / "downloads" / kind.base_folder
    folder.mkdir(parents=True)
    batch = {"data": np.zeros((10, 3072), np.uint8), "labels": list(range(10))}
    for file, _ in [*kind.train_list, *kind.test_list]:
        (folder / file).write_bytes(pickle.dumps(batch | {"fine_labels": list(range(10))}))
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: ["a"] * 10}))
    with pytest.raises(DataError, match=f"{name} cannot be prepared: no route to host"):
        prepare(name, tmp_path)
    assert not (tmp_path / name).exists()


def test_faces_have_to_be_obtained_by_the_user(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare("lfw", tmp_path)
    first, second, *files, _ = str(caught.value).splitlines()
    assert first == "lfw cannot be downloaded automatically"
    assert second == "Put the official files at these paths and try again:"
    assert files[1].strip() == str(tmp_path / "downloads" / "lfw" / "pairs.txt")


def test_note_on_faces(tmp_path: Path) -> None:
    for person in ("Ann", "Bob"):
        for number in (1, 2):
            path = tmp_path / "downloads" / "lfw" / person / f"{person}_{number:04d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(path)
    pairs = "1\t1\nAnn\t1\t2\nAnn\t1\tBob\t2\n"
    (tmp_path / "downloads" / "lfw" / "pairs.txt").write_text(pairs, encoding="utf-8")
    said = describe_prepared("lfw", prepare("lfw", tmp_path))
    assert "4 images of 2 people as they were found, not verified (LFW has 13,233 of 5,749)" in said
    assert "pairs.txt is not the official one" in said


def test_official_pairs_are_called_official() -> None:
    pairs = SHARED_DATA / "lfw" / "pairs.txt"
    if not pairs.is_file():
        pytest.skip("the packed data sets (../shared/data) are not next to this checkout")
    said = describe_lfw(13_233, 5_749, pairs.read_bytes())
    assert said == (
        "13,233 images of 5,749 people as they were found, not verified; pairs.txt is the official "
        "one"
    )


def test_note_on_a_prepared_folder_with_a_known_name(
    make_folder: Callable[..., Path], run: Run
) -> None:
    folder = make_folder("mnist", side=28)
    code, out, _ = run("data", "prepare", "mnist", "--data-root", folder.parent)
    assert code == 0
    assert "not the official data; its dataset.json says: nothing about its content" in out
    make_folder("cifar10", side=32, channels=3)
    _, out, _ = run("data", "prepare", "cifar10", "--data-root", folder.parent)
    assert "cifar10: its dataset.json says: nothing about its content" in out


def test_image_folders_are_not_called_official(tmp_path: Path, run: Run) -> None:
    for part in ("train", "val"):
        for k in "ab":
            (tmp_path / "imagenet" / part / k).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / "imagenet" / part / k / "0.png")
    code, out, _ = run("data", "prepare", "imagenet", "--data-root", tmp_path)
    assert code == 0
    assert "an image folder as it was found, not verified" in out


def test_digests_of_arrays_and_files_match() -> None:
    """An array's bytes are those of its file without the header."""
    packed = SHARED_DATA / "mnist"
    if not packed.is_dir():
        pytest.skip("the packed data sets (../shared/data) are not next to this checkout")
    for file, header, dtype, key in (
        ("train-images-idx3-ubyte", 16, np.uint8, "train_images"),
        ("t10k-labels-idx1-ubyte", 8, np.int64, "test_labels"),
    ):
        content = gzip.decompress((packed / f"{file}.gz").read_bytes())
        array = np.frombuffer(content[header:], np.uint8).astype(dtype)
        assert array_digest(array) == ARRAY_DIGESTS["mnist"][key]
