from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossbench.data.dataset import Dataset
from lossbench.data.images import View
from lossbench.data.loading import close_datasets, find_folder, load_dataset
from lossbench.data.prepared import load_prepared
from lossbench.data.sources import prepare
from lossbench.errors import DataError, UnknownNameError

Make = Callable[..., Path]


def test_prepared_folder_is_memory_mapped(make_folder: Make) -> None:
    dataset = load_prepared(make_folder())
    assert isinstance(dataset.splits["train"].images, np.memmap)
    assert dataset.image_shape(View()) == (1, 8, 8)
    assert dataset.splits["test"].labels.tolist() == [k % 3 for k in range(30)]


def test_digest_depends_on_the_content(make_folder: Make) -> None:
    first, other = make_folder("a"), make_folder("b", classes=2)
    assert load_prepared(first).digest != load_prepared(other).digest
    assert load_prepared(make_folder("c")).digest == load_prepared(first).digest


def change_card(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / "dataset.json").read_text(encoding="utf-8")) | changes
    (folder / "dataset.json").write_text(json.dumps(card), encoding="utf-8")


def save(folder: Path, name: str, array: np.ndarray) -> None:
    np.save(folder / f"{name}.npy", array)


@pytest.mark.parametrize(
    ("breakage", "expected"),
    [
        (lambda f: (f / "dataset.json").unlink(), "dataset.json is missing"),
        (
            lambda f: (f / "dataset.json").write_text("{", encoding="utf-8"),
            "dataset.json: invalid JSON",
        ),
        (lambda f: change_card(f, num_classes=1), "num_classes: should be greater"),
        (lambda f: change_card(f, class_names=["a"]), "class_names has 1 names"),
        (lambda f: change_card(f, sha256={}), "sha256.train_images is missing; add"),
        (lambda f: (f / "test_labels.npy").unlink(), "test_labels.npy: no such file"),
        (lambda f: (f / "test_images.npy").write_bytes(b"no"), "is not a complete .npy array"),
        (lambda f: save(f, "train_labels", np.zeros(60)), "should be int64 (N,), not float64"),
        (lambda f: save(f, "train_labels", np.zeros(59, np.int64)), "59 labels for 60 images"),
        (lambda f: save(f, "train_labels", np.full(60, 3)), "labels go from 3 to 3"),
        (lambda f: save(f, "train_labels", np.full(60, -1)), "labels go from -1 to -1"),
        (lambda f: save(f, "train_images", np.zeros((60, 8, 8), np.uint8)), "uint8 (N, H, W, C)"),
        (lambda f: save(f, "test_images", np.zeros((30, 9, 8, 1), np.uint8)), "test_images.npy"),
        (lambda f: save(f, "test_images", np.zeros((30, 8, 8, 1), np.uint8)), "its sha256 is"),
        (lambda f: save(f, "train_labels", np.array([{}] * 60)), "is not a complete .npy array"),
    ],
)
def test_broken_folder_is_refused(
    make_folder: Make, breakage: Callable[[Path], Any], expected: str
) -> None:
    folder = make_folder()
    breakage(folder)
    with pytest.raises(DataError) as caught:
        load_prepared(folder)
    assert expected in str(caught.value)
    assert str(folder) in str(caught.value)


def test_truncated_array_is_refused(make_folder: Make) -> None:
    path = make_folder() / "train_images.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="is not a complete"):
        load_prepared(path.parent)


def test_digits_are_bundled_and_stratified(tmp_path: Path) -> None:
    digits = load_dataset("digits", tmp_path)
    assert digits.splits["train"].images.shape == (1200, 8, 8, 1)
    assert digits.splits["test"].images.shape == (597, 8, 8, 1)
    assert digits.splits["train"].images.max() == 255
    labels = [digits.splits[name].labels for name in ("train", "test")]
    shares = [np.bincount(own) / len(own) for own in labels]
    assert np.abs(shares[0] - shares[1]).max() < 0.002
    assert list(tmp_path.iterdir()) == []


def test_copy_of_digits_is_replaced_if_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def load() -> Dataset:
        close_datasets()
        return load_dataset("digits", tmp_path)

    made = load()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sklearn.datasets", None)  # cannot be imported
        kept = load()
    assert kept.digest == made.digest
    assert kept.card == made.card
    for name, split in made.splits.items():
        assert np.array_equal(split.images, kept.splits[name].images)
        assert np.array_equal(split.labels, kept.splits[name].labels)

    [images] = (tmp_path / "cache").rglob("train_images.npy")
    images.write_bytes(images.read_bytes()[:-1] + b"\x07")
    assert load().digest == made.digest
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    assert load().digest == made.digest
    close_datasets()


def test_data_sets_are_found_by_name(make_folder: Make) -> None:
    folder = make_folder("mine")
    assert find_folder("mine", folder.parent) == folder
    assert find_folder(str(folder), Path("elsewhere")) == folder
    assert find_folder("digits", folder.parent) is None
    with pytest.raises(UnknownNameError, match="did you mean 'mine'"):
        find_folder("mines", folder.parent)
    with pytest.raises(DataError, match="lossbench data prepare mnist"):
        find_folder("mnist", folder.parent)


def test_message_on_a_failed_download_says_where_to_put_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lossbench.data.torchvision import torchvision

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", refuse)
    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", refuse)
    with pytest.raises(DataError) as caught:
        prepare("cifar10", tmp_path / "data")
    assert str(tmp_path / "data" / "downloads" / "cifar-10-python.tar.gz") in str(caught.value)
    assert str(tmp_path / "data" / "cifar10") in str(caught.value)
    assert not (tmp_path / "data" / "cifar10").exists()


def test_files_from_the_user_are_prepared(tmp_path: Path, real_mnist: Path) -> None:
    """The files named in the error message are enough, with the real MNIST."""
    packed = Path(__file__).resolve().parents[3] / "shared" / "data" / "mnist"
    raw = tmp_path / "downloads" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in packed.glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    folder = prepare("mnist", tmp_path)
    by_hand, unpacked = load_prepared(folder), load_prepared(real_mnist / "mnist")
    assert by_hand.digest == unpacked.digest
    assert by_hand.card.class_names[:2] == ["0", "1"]
