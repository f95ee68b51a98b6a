from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator, Tensor

from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.data.folder import FolderImages, load_folder
from lossbench.data.images import ArrayImages, View
from lossbench.data.sources import find_folder, load_dataset, prepare
from lossbench.errors import DataError

CPU = torch.device("cpu")


def write_images(folder: Path, classes: int = 3, count: int = 4, name: str = "{}.png") -> Path:
    random = np.random.default_rng(len(str(folder.name)))
    for k in range(classes):
        (folder / f"class{k}").mkdir(parents=True)
        for i in range(count):
            height, width = random.integers(20, 40, 2)
            pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"class{k}" / name.format(i))
    return folder


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    write_images(tmp_path / "mine" / "train")
    write_images(tmp_path / "mine" / "val", count=2)
    return tmp_path / "mine"


def test_train_and_val_become_the_splits(imagenet: Path) -> None:
    dataset = load_folder(imagenet)
    assert dataset.card.class_names == ["class0", "class1", "class2"]
    assert dataset.splits["train"].labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert dataset.splits["test"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.image_shape(View(resize=16, crop=12)) == (3, 12, 12)
    with pytest.raises(ValueError, match="differ in size"):
        dataset.image_shape(View())


def test_a_flat_folder_has_a_training_set_only(tmp_path: Path) -> None:
    dataset = load_folder(write_images(tmp_path / "faces", name="{}.JPG"))
    assert list(dataset.splits) == ["train"]


def test_names_are_resolved_to_folders(imagenet: Path) -> None:
    assert find_folder("mine", imagenet.parent) == imagenet
    assert load_dataset("mine", imagenet.parent).card.num_classes == 3
    assert load_dataset(str(imagenet), Path("elsewhere")).card.num_classes == 3


def test_the_digest_follows_names_and_sizes(imagenet: Path) -> None:
    before = load_folder(imagenet).digest
    assert load_folder(imagenet).digest == before
    moved = imagenet / "train/class0/0.png"
    moved.rename(moved.with_name("other.png"))
    assert load_folder(imagenet).digest != before


def test_central_views_and_ten_crops_are_those_of_arrays(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (6, 30, 24, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        folder = tmp_path / f"class{i // 3}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    view = View(resize=20, crop=16)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    arrays = ArrayImages(torch.from_numpy(pixels), labels, view)
    files = load_folder(tmp_path).splits["train"].on(CPU, view)
    assert torch.equal(torch.cat(list(files.central())), torch.cat(list(arrays.central())))
    chosen = torch.tensor([4, 1])
    assert torch.equal(
        torch.cat(list(files.central(chosen))), torch.cat(list(arrays.central(chosen)))
    )
    of_files, of_arrays = list(files.ten_crops(4)), list(arrays.ten_crops(4))
    assert [part.shape for part in of_files] == [(4, 10, 3, 16, 16), (2, 10, 3, 16, 16)]
    assert torch.equal(torch.cat(of_files), torch.cat(of_arrays))


def augmented(images: FolderImages, seed: int, names: list[str]) -> Tensor:
    augmentations = [AUGMENTATIONS[name].create(images.view.crop) for name in names]
    order = torch.arange(len(images)).split(5)
    batches = images.augmented(order, augmentations, Generator().manual_seed(seed))
    parts = list(batches)
    assert torch.equal(torch.cat([labels for _, labels in parts]), images.labels)
    return torch.cat([part for part, _ in parts])


@pytest.mark.parametrize("names", [["random_resized_crop", "mirror"], ["mirror", "random_crop"]])
def test_augmentation_depends_on_the_seed_and_not_on_the_processes(
    imagenet: Path, names: list[str]
) -> None:
    images = load_folder(imagenet).splits["train"].on(CPU, View(resize=18, crop=16))
    assert isinstance(images, FolderImages)
    alone = augmented(images, 0, names)
    assert alone.shape == (12, 3, 16, 16)
    assert alone.dtype == torch.uint8
    assert not torch.equal(alone, augmented(images, 1, names))
    torch.set_num_threads(3)  # two loading processes
    assert torch.equal(alone, augmented(images, 0, names))


def test_random_resized_crop_draws_areas_and_shapes_in_their_range() -> None:
    crop = AUGMENTATIONS["random_resized_crop"].create(8, min_area=0.25)
    generator = Generator().manual_seed(0)
    drawn = [crop._draw(60, 80, generator) for _ in range(400)]  # type: ignore[attr-defined]
    areas = np.array([h * w / 4800 for _, _, h, w in drawn])
    shapes = np.array([w / h for _, _, h, w in drawn])
    assert 0.23 < areas.min() < 0.3
    assert 0.95 < areas.max() <= 1
    assert 0.72 < shapes.min() < 0.8
    assert 1.25 < shapes.max() < 1.37
    assert all(
        top >= 0 and left >= 0 and top + h <= 60 and left + w <= 80 for top, left, h, w in drawn
    )


def broken(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def test_an_image_that_does_not_decode_is_found_before_and_during_training(imagenet: Path) -> None:
    path = imagenet / "train/class1/2.png"
    broken(path)
    with pytest.raises(DataError, match=r"class1/2\.png: does not decode"):
        load_folder(imagenet)
    images = load_folder(imagenet, verify=False).splits["train"].on(CPU, View(16, 16))
    for threads in (1, 2):  # in this process, and from a loading process
        torch.set_num_threads(threads)
        with pytest.raises(DataError, match=r"class1/2\.png: does not decode") as caught:
            augmented(images, 0, ["mirror"])  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_half_extracted_folders(imagenet: Path, tmp_path: Path) -> None:
    (imagenet / "train/class1/0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"class1/0\.png: is empty; was the data set extracted"):
        load_folder(imagenet)
    for path in (imagenet / "val/class2").iterdir():
        path.unlink()
    (imagenet / "train/class1/0.png").unlink()
    with pytest.raises(DataError, match="val/class2: has no images"):
        load_folder(imagenet)
    (imagenet / "val/class2").rmdir()
    with pytest.raises(DataError, match="val: lacks 1 of 3 classes, such as class2"):
        load_folder(imagenet)
    (tmp_path / "one" / "class").mkdir(parents=True)
    with pytest.raises(DataError, match="two or more classes"):
        load_folder(tmp_path / "one")
    (tmp_path / "odd" / "val" / "class").mkdir(parents=True)
    with pytest.raises(DataError, match="has val, but no train"):
        load_folder(tmp_path / "odd")


def test_an_image_too_small_for_the_crop_is_named(tmp_path: Path) -> None:
    images = load_folder(write_images(tmp_path / "small")).splits["train"].on(CPU, View(crop=50))
    with pytest.raises(DataError, match=r"too small for a crop of 50"):
        list(images.central())


def test_what_cannot_be_downloaded_says_where_it_goes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="licence") as caught:
        prepare("imagenet", tmp_path)
    assert str(tmp_path / "imagenet") in str(caught.value)
    write_images(tmp_path / "imagenet" / "train")
    write_images(tmp_path / "imagenet" / "val")
    assert prepare("imagenet", tmp_path) == tmp_path / "imagenet"
