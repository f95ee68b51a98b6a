"""Data sets of the Hugging Face hub on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from lossbench.data.images import View
from lossbench.data.loading import find_folder, load_dataset, own_folders
from lossbench.data.prepared import ArraySplit
from lossbench.data.tables import load_tables
from lossbench.errors import DataError
from tests.data import written_tables as made
from tests.data.written_tables import of_split, pixels, save, save_parquet, save_split, table

CPU = torch.device("cpu")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(tmp_path / "mine", train=of_split(12), test=of_split(6, seed=1))


def test_images_of_the_same_size_are_arrays(saved: Path) -> None:
    dataset = load_tables(saved)
    assert dataset.card.class_names == list(made.NAMES)
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert isinstance(train, ArraySplit)
    assert isinstance(test, ArraySplit)
    assert np.array_equal(train.images[..., 0], np.stack(pixels(12, 6, 6)))
    assert np.array_equal(test.images[..., 0], np.stack(pixels(6, 6, 6, seed=1)))
    assert train.labels.tolist() == [i % 3 for i in range(12)]
    assert dataset.image_shape(View()) == (1, 6, 6)
    assert find_folder("mine", saved.parent) == saved
    assert own_folders(saved.parent) == [saved]
    assert load_dataset("mine", saved.parent).digest == dataset.digest


@pytest.mark.parametrize("below", ["data", "default", "."])
def test_parquet_and_shards_have_the_same_content(saved: Path, tmp_path: Path, below: str) -> None:
    parts = {"train": of_split(12), "test": of_split(6, seed=1)}
    of_hub = save_parquet(tmp_path / "hub" / below, **parts)
    one, many = load_tables(saved), save(tmp_path / "many", 5, **parts)
    for folder in (tmp_path / "hub", of_hub, many):
        other = load_tables(folder)
        for name in parts:
            here, there = one.splits[name], other.splits[name]
            assert isinstance(here, ArraySplit)
            assert isinstance(there, ArraySplit)
            assert np.array_equal(here.images, there.images)
            assert np.array_equal(here.labels, there.labels)


def test_digest_depends_on_the_content(saved: Path, tmp_path: Path) -> None:
    first = load_tables(saved).digest
    assert load_tables(saved, verify=False).digest == first
    moved = Path(shutil.copytree(saved, tmp_path / "moved"))
    assert load_tables(moved).digest == first
    save_split(moved / "test", of_split(6, seed=2))
    assert load_tables(moved).digest != first


def test_colour_images_have_three_channels(tmp_path: Path) -> None:
    images = pixels(6, 5, 4, 3)
    content = table(made.files(images), [0, 1] * 3)
    split = load_tables(save(tmp_path / "rgb", train=content, test=content)).splits["test"]
    assert isinstance(split, ArraySplit)
    assert np.array_equal(split.images, np.stack(images))


def test_images_of_different_sizes_are_decoded_on_demand(tmp_path: Path) -> None:
    images = [image for side in range(8, 20) for image in pixels(1, side, 12, 3, seed=side)]
    content = table(made.files(images), [i % 3 for i in range(12)])
    folder = save(tmp_path / "mixed", 3, train=content, test=content)
    dataset = load_tables(folder)
    assert dataset.smallest == (f"{folder / 'train'}, row 0", 8)
    with pytest.raises(ValueError, match="these images differ in size"):
        dataset.image_shape(View())
    view = View(crop=8)
    assert dataset.image_shape(view) == (3, 8, 8)
    chosen = dataset.splits["train"].subset(np.array([11, 3, 0]))
    [batch] = chosen.to_device(CPU, view).unaugmented()
    for row, found in zip((11, 3, 0), batch, strict=True):
        wanted = torch.from_numpy(images[row]).permute(2, 0, 1)
        assert torch.equal(found, view.cropped(wanted))
    assert load_tables(folder, verify=False).digest == dataset.digest


def numbers(change: Callable[[Any], Any] = lambda image: image) -> pa.Table:
    images = [change(image).tolist() for image in pixels(6, 4, 4, 3)]
    return table(images, ["b", "a", "c"] * 2, None, image="img")


def test_images_as_numbers_and_class_names_as_labels(tmp_path: Path) -> None:
    for name, change in (("last", lambda i: i), ("first", lambda i: i.transpose(2, 0, 1))):
        content = numbers(change)
        dataset = load_tables(save(tmp_path / name, train=content, test=content))
        split = dataset.splits["train"]
        assert isinstance(split, ArraySplit)
        assert np.array_equal(split.images, np.stack(pixels(6, 4, 4, 3)))
        assert dataset.card.class_names == ["a", "b", "c"]
        assert split.labels.tolist() == [1, 0, 2] * 2
    grey = numbers(lambda i: i[..., 0])
    with pytest.raises(DataError, match=r"images are \(4, 4, 1\), those of training \(4, 4, 3\)"):
        load_tables(save(tmp_path / "both", train=numbers(), test=grey))
    assert load_tables(save(tmp_path / "g", train=grey)).splits["train"].shape == (1, 4, 4)


def test_validation_set_is_the_test_set_if_test_labels_are_withheld(tmp_path: Path) -> None:
    hidden = table(of_split(6).column("image"), [-1] * 6)
    parts = {"train": of_split(12), "test": hidden, "validation": of_split(6, seed=3)}
    dataset = load_tables(save(tmp_path / "mine", **parts))
    assert dataset.splits["test"].labels.tolist() == [0, 1, 2] * 2
    [note] = dataset.notes
    assert note == "validation (6 images) is the test set: the labels of test are withheld"
    assert load_tables(tmp_path / "mine", validation=True).digest == dataset.digest
    assert "validation" not in load_tables(tmp_path / "mine", validation=True).splits
    del parts["validation"]
    alone = load_tables(save(tmp_path / "alone", **parts, unsupervised=hidden))
    assert list(alone.splits) == ["train"]
    assert alone.no_test.endswith("found train, test, unsupervised")


def test_validation_split_next_to_a_test_split_is_for_selection(tmp_path: Path) -> None:
    parts = {"train": of_split(12), "test": of_split(6, seed=1)}
    plain = load_tables(save(tmp_path / "plain", **parts))
    parts |= {"valid": of_split(9, seed=3), "extra": of_split(6)}
    folder = save(tmp_path / "mine", **parts)
    unused = load_tables(folder)
    assert list(unused.splits) == ["train", "test"]
    assert unused.digest == plain.digest
    assert unused.notes[0].startswith("test (6 images) is tested; valid is not used: `selection`")
    assert unused.notes[1] == "not used: extra"
    dataset = load_tables(folder, validation=True)
    assert dataset.notes[0] == "test (6 images) is tested; `selection` chooses on valid (9 images)"
    assert dataset.digest == plain.digest
    split = dataset.splits["validation"]
    assert isinstance(split, ArraySplit)
    assert np.array_equal(split.images[..., 0], np.stack(pixels(9, 6, 6, seed=3)))
    save_split(folder / "valid", of_split(9, seed=4))
    assert load_tables(folder, validation=True).validation_digest != dataset.validation_digest
    save_split(folder / "valid", of_split(9, side=7))
    with pytest.raises(DataError, match=r"not all 6x6 with 1 channel.* set selection\.holdout"):
        load_tables(folder, validation=True)
    load_tables(folder)


def test_single_saved_split_is_a_training_set(tmp_path: Path) -> None:
    save_split(tmp_path / "one", of_split())
    dataset = load_tables(tmp_path / "one")
    assert list(dataset.splits) == ["train"]
    assert dataset.no_test.startswith("looked for test, validation")


def test_name_decides_between_several_columns(tmp_path: Path) -> None:
    content = of_split().append_column("image_mask", of_split(seed=5).column("image"))
    content = content.append_column("coarse", pa.array([0] * 12))
    split = load_tables(save(tmp_path / "mine", train=content)).splits["train"]
    assert isinstance(split, ArraySplit)
    assert np.array_equal(split.images[..., 0], np.stack(pixels(12, 6, 6)))


def put(column: str, values: Any, split: str = "train") -> Callable[[Path], None]:
    """Other values in a column of twelve rows."""

    def edit(folder: Path) -> None:
        content = of_split()
        at = content.column_names.index(column)
        save_split(folder / split, content.set_column(at, column, pa.array(values)))

    return edit


def cut(folder: Path) -> None:
    file = folder / "train/data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:500])


def renamed(old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = of_split()
        names = [new if name == old else name for name in content.column_names]
        save_split(folder / "train", content.rename_columns(names).replace_schema_metadata(None))

    return edit


def several_configurations(folder: Path) -> None:
    shutil.rmtree(folder)
    for name in ("plain", "large"):
        save_parquet(folder / name, train=of_split())


def only_unknown_names(folder: Path) -> None:
    shutil.rmtree(folder)
    save_parquet(folder, part=of_split())


BROKEN_FILE = [{"bytes": b"no image", "path": "a.png"}] * 12
PATHS_ONLY = pa.array([{"bytes": None, "path": "a.png"}] * 12, made.files([]).type)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (cut, "train/data-00000-of-00001.arrow: is not a complete table: "),
        (lambda f: (f / "train/state.json").unlink(), "train/state.json: cannot be read: No such"),
        (
            lambda f: (f / "train/state.json").write_text("{", encoding="utf-8"),
            "train/state.json: is not JSON",
        ),
        (
            lambda f: (f / "train/state.json").write_text("{}", encoding="utf-8"),
            "_data_files lists no files",
        ),
        (
            lambda f: (f / "dataset_dict.json").write_text("[]", encoding="utf-8"),
            "dataset_dict.json: should be a",
        ),
        (
            lambda f: (f / "dataset_dict.json").write_text(
                json.dumps({"splits": ["test"]}), encoding="utf-8"
            ),
            "mine: has no split train; splits are test",
        ),
        (
            lambda f: (f / "train/data-00000-of-00001.arrow").unlink(),
            "data-00000-of-00001.arrow: no such file, but state.json names it",
        ),
        (renamed("label", "mood"), "has no column of labels; columns are image (struct<bytes"),
        (put("image", [f"{i}.png" for i in range(12)]), "has no column of images; columns are"),
        (put("image", BROKEN_FILE), "train/data-00000-of-00001.arrow, row 0: does not decode"),
        (put("image", PATHS_ONLY), "12 of 12 images are not in the table, only their paths"),
        (put("image", [[[0.5, 1.0]]] * 12), "should be whole numbers from 0 to 255, not double"),
        (put("image", [[[0, 256]]] * 12), "should be numbers from 0 to 255, not 0 to 256"),
        (put("image", [[[0] * (i + 1)] for i in range(12)]), "numbers should have the same size"),
        (put("image", [[[[0] * 5] * 5] * 5] * 12), "5x5x5 have no side of 1 or 3 channels"),
        (put("label", [0, None] * 6), "6 of 12 labels are missing"),
        (put("label", [0, 3] * 6), "labels go from 0 to 3, but there are 3 classes"),
        (put("label", [-1] * 12), "labels go from -1 to -1, but there are 3 classes"),
        (put("label", [1] * 12), "all images are of class dog"),
        (put("label", [0, 7] * 6, "test"), "test/data-00000-of-00001.arrow: labels go from 0 to 7"),
        (lambda f: save_split(f / "train", of_split(0)), "has no rows"),
        (renamed("image", "text"), "test/data-00000-of-00001.arrow: has no column text, as train"),
        (several_configurations, "has several configurations (large, plain); name the folder of"),
        (only_unknown_names, "has no split train; splits are part"),
    ],
)
def test_broken_folder_is_refused(saved: Path, edit: Callable[[Path], Any], message: str) -> None:
    edit(saved)
    with pytest.raises(DataError) as caught:
        load_tables(saved)
    assert str(saved) in str(caught.value)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 1000
