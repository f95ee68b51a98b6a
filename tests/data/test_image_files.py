from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from PIL import ExifTags, Image
from pyarrow import parquet
from torch import Generator, Tensor

from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.data.image_files import ImageFiles
from lossbench.data.image_folder import load_image_folder
from lossbench.data.images import ArrayImages, View
from lossbench.data.loading import find_folder, load_dataset, own_folders
from lossbench.data.sources import is_ready, prepare
from lossbench.data.tables import load_tables
from lossbench.errors import DataError, UnknownNameError

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


def test_train_and_val_are_the_splits(imagenet: Path) -> None:
    dataset = load_image_folder(imagenet)
    assert dataset.card.class_names == ["class0", "class1", "class2"]
    assert dataset.splits["train"].labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert dataset.splits["test"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.image_shape(View(resize=16, crop=12)) == (3, 12, 12)
    with pytest.raises(ValueError, match="differ in size"):
        dataset.image_shape(View())


def test_flat_folder_is_a_training_set(tmp_path: Path) -> None:
    dataset = load_image_folder(write_images(tmp_path / "faces", name="{}.JPG"))
    assert list(dataset.splits) == ["train"]


def test_names_are_resolved_to_folders(imagenet: Path) -> None:
    assert find_folder("mine", imagenet.parent) == imagenet
    assert load_dataset("mine", imagenet.parent).card.num_classes == 3
    assert load_dataset(str(imagenet), Path("elsewhere")).card.num_classes == 3
    with pytest.raises(UnknownNameError, match="did you mean 'mine'"):
        find_folder("mime", imagenet.parent)


def test_image_folders_are_listed_and_other_folders_are_not(imagenet: Path) -> None:
    root = imagenet.parent
    (root / "downloads" / "raw").mkdir(parents=True)
    (root / "downloads" / "raw" / "labels.txt").write_text("no image", encoding="utf-8")
    write_images(root / "flat", classes=2, count=1)
    assert own_folders(root) == [root / "flat", imagenet]
    assert not is_ready("imagenet", root)
    assert is_ready("digits", root)
    assert not is_ready("lfw_within", root)  # made of what is not there
    (root / "imagenet").symlink_to(imagenet)
    assert is_ready("imagenet", root)
    assert load_dataset("imagenet", root).card.name == "imagenet"
    assert own_folders(root) == [root / "flat", imagenet]
    with pytest.raises(DataError, match=r"downloads: not a data set; it has neither dataset\.json"):
        load_dataset("downloads", root)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load_dataset(str(root / "nowhere"), root)


def test_hidden_files_and_other_files_are_skipped(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "faces", count=2)
    (folder / "class0" / "._0.png").write_bytes(b"of a Mac")
    (folder / "class0" / "labels.txt").write_text("no image", encoding="utf-8")
    (folder / "class0" / "more.png").mkdir()
    (folder / ".cache").mkdir()
    assert load_image_folder(folder).splits["train"].labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_unaugmented_images_and_ten_crops_are_those_of_arrays(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (6, 30, 24, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        folder = tmp_path / f"class{i // 3}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    view = View(resize=20, crop=16)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    arrays = ArrayImages(torch.from_numpy(pixels), labels, view)
    files = load_image_folder(tmp_path).splits["train"].to_device(CPU, view)
    assert torch.equal(torch.cat(list(files.unaugmented())), torch.cat(list(arrays.unaugmented())))
    chosen = torch.tensor([4, 1])
    assert torch.equal(
        torch.cat(list(files.unaugmented(chosen))), torch.cat(list(arrays.unaugmented(chosen)))
    )
    assert [len(part) for part in files.unaugmented(size=4)] == [4, 2]
    of_files, of_arrays = list(files.ten_crops(4)), list(arrays.ten_crops(4))
    assert [part.shape for part in of_files] == [(4, 10, 3, 16, 16), (2, 10, 3, 16, 16)]
    assert torch.equal(torch.cat(of_files), torch.cat(of_arrays))


def augmented(images: ImageFiles, seed: int, names: list[str]) -> Tensor:
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
    images = load_image_folder(imagenet).splits["train"].to_device(CPU, View(resize=18, crop=16))
    assert isinstance(images, ImageFiles)
    alone = augmented(images, 0, names)
    assert alone.shape == (12, 3, 16, 16)
    assert alone.dtype == torch.uint8
    assert not torch.equal(alone, augmented(images, 1, names))
    torch.set_num_threads(3)  # two loading processes
    state = torch.get_rng_state()
    assert torch.equal(alone, augmented(images, 0, names))
    assert torch.equal(state, torch.get_rng_state())  # dropout draws from it


def test_batch_size_of_unaugmented_images(tmp_path: Path) -> None:
    """Attacks pair such batches with the labels, split alike."""
    images = load_image_folder(write_images(tmp_path, count=30), verify=False).splits["train"]
    parts = images.to_device(CPU, View(resize=18, crop=16)).unaugmented(size=80)
    assert [len(part) for part in parts] == [80, 10]


def test_random_resized_crop_sees_the_whole_file(tmp_path: Path) -> None:
    """It is not resized first, which would give other pixels."""
    folder = write_images(tmp_path, classes=2, count=1)
    images = load_image_folder(folder).splits["train"].to_device(CPU, View(resize=17, crop=16))
    crop = AUGMENTATIONS["random_resized_crop"].create(16)
    [(found, _)] = images.augmented([torch.arange(2)], [crop], Generator().manual_seed(5))
    seeds = torch.randint(2**62, (2,), generator=Generator().manual_seed(5)).tolist()
    for k in range(2):
        pixels = torch.from_numpy(np.array(Image.open(folder / f"class{k}" / "0.png")))
        expected = crop(pixels.permute(2, 0, 1)[None], Generator().manual_seed(seeds[k]))[0]
        assert torch.equal(found[k], expected)


@pytest.mark.parametrize("names", [["random_resized_crop"], ["mirror", "random_resized_crop"]])
def test_random_resized_crop_is_the_same_for_arrays_and_files(
    tmp_path: Path, names: list[str]
) -> None:
    """It uses the whole image if it is the first augmentation, otherwise the resized one."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3), dtype=np.uint8)
    for k in range(2):
        (tmp_path / f"class{k}").mkdir()
        Image.fromarray(pixels[k]).save(tmp_path / f"class{k}" / "0.png")
    view, order = View(resize=20, crop=16), [torch.tensor([1])]
    augmentations = [AUGMENTATIONS[name].create(16) for name in names]
    files = load_image_folder(tmp_path).splits["train"].to_device(CPU, view)
    [(of_file, _)] = files.augmented(order, augmentations, Generator().manual_seed(3))
    seed = int(torch.randint(2**62, (1,), generator=Generator().manual_seed(3)))
    arrays = ArrayImages(torch.from_numpy(pixels), torch.tensor([0, 1]), view)
    [(of_array, _)] = arrays.augmented(order, augmentations, Generator().manual_seed(seed))
    assert torch.equal(of_array, of_file)
    images = torch.from_numpy(pixels[1:]).permute(0, 3, 1, 2)
    if len(names) > 1:
        images = view.resized(images)
    generator = Generator().manual_seed(seed)
    for augment in augmentations:
        images = augment(images, generator)
    assert torch.equal(of_array, images)


def test_files_are_decoded_to_rgb(tmp_path: Path) -> None:
    folder = write_images(tmp_path, classes=2, count=1)
    grey = np.arange(16 * 16, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(folder / "class0" / "0.png")
    images = load_image_folder(folder).splits["train"].to_device(CPU, View(crop=16))
    [image, _] = next(iter(images.unaugmented()))
    assert torch.equal(image, torch.from_numpy(grey).expand(3, 16, 16))


def test_random_resized_crop_draws_areas_and_ratios_in_their_ranges() -> None:
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
        load_image_folder(imagenet)
    images = load_image_folder(imagenet, verify=False).splits["train"].to_device(CPU, View(16, 16))
    for threads in (1, 2):  # in this process, and from a loading process
        torch.set_num_threads(threads)
        with pytest.raises(DataError, match=r"class1/2\.png: does not decode") as caught:
            augmented(images, 0, ["mirror"])  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_incomplete_folders_are_refused(imagenet: Path, tmp_path: Path) -> None:
    (imagenet / "train/class1/0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"class1/0\.png: is empty; was the data set extracted"):
        load_image_folder(imagenet)
    for path in (imagenet / "val/class2").iterdir():
        path.unlink()
    (imagenet / "train/class1/0.png").unlink()
    with pytest.raises(DataError, match=r"for 1 of 3 classes, such as class2 \(its folder is"):
        load_image_folder(imagenet)
    (imagenet / "val/class2").rmdir()
    with pytest.raises(DataError, match=r"class2 \(there is no such.* set dataset\.missing_test"):
        load_image_folder(imagenet)
    (tmp_path / "one" / "class").mkdir(parents=True)
    with pytest.raises(DataError, match="two or more classes"):
        load_image_folder(tmp_path / "one")
    (tmp_path / "odd" / "val" / "class").mkdir(parents=True)
    with pytest.raises(DataError, match="has val, but no train"):
        load_image_folder(tmp_path / "odd")
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load_image_folder(tmp_path / "nowhere")
    (imagenet / "train/class0/link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"link\.png: cannot be read: No such file"):
        load_image_folder(imagenet)


def test_message_names_an_image_too_small_for_the_crop(tmp_path: Path) -> None:
    images = (
        load_image_folder(write_images(tmp_path / "small"))
        .splits["train"]
        .to_device(CPU, View(crop=50))
    )
    with pytest.raises(DataError, match=r"class0/0\.png: .* is too small for a crop of 50"):
        list(images.unaugmented())
    with pytest.raises(DataError, match=r"class\d/\d\.png: .* is too small for a crop of 50"):
        augmented(images, 0, ["random_crop"])  # type: ignore[arg-type]


def test_message_says_where_to_put_data_that_cannot_be_downloaded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="licence") as caught:
        prepare("imagenet", tmp_path)
    assert str(tmp_path / "imagenet") in str(caught.value)
    write_images(tmp_path / "imagenet" / "train")
    write_images(tmp_path / "imagenet" / "val")
    assert prepare("imagenet", tmp_path) == tmp_path / "imagenet"


def write_equal(folder: Path, size: tuple[int, int] = (20, 24), top: int = 255) -> Path:
    for k in "ab":
        (folder / k).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", size, (top, i, ord(k))).save(folder / k / f"{i}.png")
    return folder


def test_images_of_the_same_size_need_no_crop(tmp_path: Path) -> None:
    folder = write_equal(tmp_path)
    for verify in (True, False):  # before a run, and in its workers
        dataset = load_image_folder(folder, verify=verify)
        assert dataset.image_shape(View()) == (3, 24, 20)
        assert dataset.image_shape(View(resize=10)) == (3, 12, 10)
        [batch] = dataset.splits["train"].to_device(CPU, View()).unaugmented()
        assert batch.shape == (4, 3, 24, 20)
    Image.new("RGB", (20, 25)).save(folder / "b" / "2.png")
    with pytest.raises(ValueError, match=r"size \(.*0\.png is 24x20, .*b/2\.png is 25x20"):
        load_image_folder(folder).image_shape(View())
    images = load_image_folder(folder).splits["train"].to_device(CPU, View())
    with pytest.raises(DataError, match=r"images of a batch are 24x20 and 25x20"):
        list(images.unaugmented())


@pytest.mark.parametrize(("levels", "warned"), [(4095, True), (1023, True), (65535, False)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_warning_on_12_bit_levels_in_16_bits(
    tmp_path: Path, levels: int, warned: bool, suffix: str
) -> None:
    for k in "ab":
        (tmp_path / k).mkdir()
        pixels = np.linspace(0, levels, 64).round().astype(np.uint16).reshape(8, 8)
        Image.fromarray(pixels).save(tmp_path / k / f"0.{suffix}")
        Image.new("L", (8, 8), 200).save(tmp_path / k / "8 bits.png")
    found = load_image_folder(tmp_path).warnings
    assert bool(found) == warned
    assert all("Multiply the levels (for 12 bits by 16)" in line for line in found)


def test_no_warning_on_dark_8_bit_images(tmp_path: Path) -> None:
    assert load_image_folder(write_equal(tmp_path, top=0)).warnings == ()
    grey = np.full((8, 8), 4, np.uint16)
    Image.fromarray(grey).save(tmp_path / "a" / "x.pgm")  # a PGM says which level is white
    assert load_image_folder(tmp_path).warnings == ()


def png_of_16_bits(levels: np.ndarray) -> bytes:
    """A PNG in colour, which Pillow reads and does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    height, width, channels = levels.shape
    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize(("brightest", "warned"), [(4095, True), (65535, False)])
def test_warning_on_12_bit_colours_in_folders_and_tables(
    tmp_path: Path, channels: int, brightest: int, warned: bool
) -> None:
    levels = np.random.default_rng(1).integers(0, brightest + 1, (6, 9, channels))
    if channels != 3:
        levels[..., -1] = 65535  # opaque
    content = png_of_16_bits(levels)
    for k in "ab":
        (tmp_path / "folder" / k).mkdir(parents=True)
        (tmp_path / "folder" / k / "0.png").write_bytes(content)
    assert bool(load_image_folder(tmp_path / "folder").warnings) == warned
    column = pyarrow.array([{"bytes": content, "path": None}] * 4)
    (tmp_path / "table").mkdir()
    written = pyarrow.table({"image": column, "label": [0, 1, 0, 1]})
    parquet.write_table(written, tmp_path / "table" / "train.parquet")
    assert bool(load_tables(tmp_path / "table").warnings) == warned


def test_sizes_of_all_files_are_read_if_the_decoded_ones_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lossbench.data.image_files.DECODED_AT_CHECK", 3)
    folder = write_images(tmp_path, classes=2, count=9, name="{}.png")
    for path in folder.rglob("*.png"):
        Image.new("RGB", (20, 14)).save(path)
    dataset = load_image_folder(folder)
    assert dataset.common_size == (14, 20)
    assert dataset.sizes_seen == "all 18 images were looked at"
    upright, turned = Image.Exif(), Image.Exif()
    upright[ExifTags.Base.Orientation], turned[ExifTags.Base.Orientation] = 3, 8
    paths = sorted(folder.rglob("*.png"))
    Image.new("RGB", (20, 14)).save(paths[4].with_suffix(".jpg"), exif=upright)
    Image.new("RGB", (14, 20)).save(paths[5].with_suffix(".tif"), exif=turned)
    Image.new("RGB", (14, 20)).save(paths[6].with_suffix(".webp"), exif=turned)
    assert load_image_folder(folder).common_size == (14, 20)
    Image.new("RGB", (20, 14)).save(paths[4], exif=turned)
    with pytest.raises(ValueError, match=r"is 20x14; all 21 images were looked at"):
        load_image_folder(folder).image_shape(View())
    monkeypatch.setattr("lossbench.data.image_files.MEASURED_AT_CHECK", 20)
    assert load_image_folder(folder).sizes_seen == "3 of 21 images were looked at"


@pytest.mark.parametrize("leftover", ["__MACOSX/{}/._0.png", "{}/@eaDir/0.png/thumb.jpg"])
def test_files_of_archives_and_file_servers_are_skipped(tmp_path: Path, leftover: str) -> None:
    folder = write_images(tmp_path, classes=2)
    before = load_image_folder(folder)
    added = folder / leftover.format(before.card.class_names[0])
    added.parent.mkdir(parents=True)
    added.write_bytes(b"no image")
    after = load_image_folder(folder)
    assert after.digest == before.digest
    assert after.notes == ()
