"""Data sets of torchvision, from small files in the forms that torchvision reads."""

from __future__ import annotations

import inspect
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

from lossbench.assembly.check import check
from lossbench.data.loading import find_folder, load_dataset
from lossbench.data.prepared import load_prepared
from lossbench.data.sources import DATASETS, describe_prepared, is_ready, prepare
from lossbench.data.torchvision import torchvision
from lossbench.data.torchvision_catalogue import CATALOGUE, UNSUPPORTED
from lossbench.data.torchvision_datasets import divide
from lossbench.errors import DataError, RequestError, UnknownNameError
from lossbench.suite.load import load_suite

Run = Callable[..., tuple[int, str, str]]
datasets = torchvision.datasets
RANDOM = np.random.default_rng(0)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write bytes in the format of MNIST's files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">i{array.ndim}i", 2048 + array.ndim, *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())


def write_image(path: Path, size: tuple[int, int] = (9, 7), level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 2 * level % 256, 255 - level)).save(path)


def pixels(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def test_every_data_set_is_either_offered_or_refused_with_a_reason() -> None:
    """25 of torchvision's classes can be used, in 34 forms."""
    classes = {own.kind for own in CATALOGUE.values()}
    if torchvision.__version__.startswith("0.28."):
        assert classes | UNSUPPORTED.keys() == set(datasets.__all__)
    assert (len(classes), len(CATALOGUE)) == (25, 34)
    assert classes & UNSUPPORTED.keys() == {"EMNIST"}
    for name, reason in UNSUPPORTED.items():
        with pytest.raises(RequestError) as caught:
            find_folder(f"torchvision.{name}", Path("/nonexistent"))
        assert f"data set 'torchvision.{name}' cannot be used here: {reason}" in str(caught.value)
    with pytest.raises(UnknownNameError, match=r"did you mean 'torchvision\.FashionMNIST'"):
        find_folder("torchvision.fashionmnist", Path("/nonexistent"))
    with pytest.raises(UnknownNameError, match=r"torchvision\.NAME"):
        find_folder("fashionmnist", Path("/nonexistent"))


@pytest.mark.parametrize("name", CATALOGUE)
def test_arguments_are_those_of_torchvision(name: str, tmp_path: Path) -> None:
    """Without files and without a download, what is missing are the files."""
    own = CATALOGUE[name]
    kind = getattr(datasets, own.kind)
    parameters = inspect.signature(kind).parameters
    assert own.files or "download" in parameters or own.kind in ("EMNIST", "QMNIST")
    assert set(own.parts) in (
        {"all"},
        {"train", "test"},
        {"train", "val"},
        {"train", "val", "test"},
    )
    for chosen in own.parts.values():
        options = {**own.options, **chosen}
        options |= {"download": False} if own.kind in ("SEMEION",) else {}
        with pytest.raises((RuntimeError, FileNotFoundError)):
            kind(tmp_path, **options)


def test_fashion_mnist_becomes_arrays(tmp_path: Path, run: Run) -> None:
    raw = tmp_path / "downloads" / "FashionMNIST" / "raw"
    written = {"train": (pixels(40, 28, 28), np.arange(40) % 10)}
    written["t10k"] = (pixels(20, 28, 28), np.arange(20)[::-1] % 10)
    for part, (images, labels) in written.items():
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", labels)
    name = "torchvision.FashionMNIST"
    assert "[`lossbench data prepare torchvision.FashionMNIST`]" in " ".join(
        run("list", "datasets", "--data-root", tmp_path)[1].split()
    )
    code, out, _ = run("data", "prepare", name, "--data-root", tmp_path)
    assert code == 0
    assert "made from the files of torchvision.datasets.FashionMNIST, not verified here" in out
    dataset = load_prepared(tmp_path / name)
    assert dataset.card.class_names[:3] == ["T-shirt/top", "Trouser", "Pullover"]
    for split, part in (("train", "train"), ("test", "t10k")):
        assert (dataset.splits[split].images == written[part][0][..., None]).all()  # type: ignore[attr-defined]
        assert (dataset.splits[split].labels == written[part][1]).all()
    assert is_ready(name, tmp_path)
    listed = run("list", "datasets", "--data-root", tmp_path)[1]
    assert f"{name}  70,000 articles 28x28, 10 classes  [ready]" in listed
    assert "[yours]" not in listed
    assert run("data", "prepare", name, "--data-root", tmp_path)[0] == 0


def test_letters_are_numbered_from_0(tmp_path: Path) -> None:
    raw = tmp_path / "downloads" / "EMNIST" / "raw"
    for part, labels in (("train", np.arange(1, 27)), ("test", np.arange(26, 0, -1))):
        write_idx(raw / f"emnist-letters-{part}-images-idx3-ubyte", pixels(26, 28, 28))
        write_idx(raw / f"emnist-letters-{part}-labels-idx1-ubyte", labels)
    dataset = load_prepared(prepare("torchvision.EMNIST.letters", tmp_path))
    assert dataset.card.class_names == list("abcdefghijklmnopqrstuvwxyz")
    assert (dataset.splits["train"].labels == np.arange(26)).all()
    assert (dataset.splits["test"].labels == np.arange(26)[::-1]).all()


def test_svhn_is_read_from_its_matlab_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {part: pixels(20, 32, 32, 3) for part in ("train", "test")}
    labels = np.arange(20) % 10 + 1  # 10 is the digit 0
    (tmp_path / "downloads").mkdir()
    for part, own in images.items():
        path = tmp_path / "downloads" / f"{part}_32x32.mat"
        scipy.io.savemat(path, {"X": own.transpose(1, 2, 3, 0), "y": labels[:, None]})
    monkeypatch.setattr(datasets.svhn, "check_integrity", lambda *_: True)
    monkeypatch.setattr(datasets.svhn, "download_url", lambda *_: None)
    dataset = load_prepared(prepare("torchvision.SVHN", tmp_path))
    assert dataset.card.class_names == list("0123456789")
    for part, own in images.items():
        assert (dataset.splits[part].images == own).all()  # type: ignore[attr-defined]
        assert (dataset.splits[part].labels == labels % 10).all()


def test_textures_become_a_folder_of_links(
    tmp_path: Path, run: Run, write_suite: Callable[..., Path]
) -> None:
    base = tmp_path / "downloads" / "dtd" / "dtd"
    (base / "labels").mkdir(parents=True)
    for place, part in enumerate(("train", "val", "test")):
        names = [f"{k}/{k}_{place}{n}.jpg" for k in ("banded", "woven") for n in range(2)]
        (base / "labels" / f"{part}1.txt").write_text("\n".join(names), encoding="utf-8")
        for index, name in enumerate(names):
            write_image(base / "images" / name, (20 + index, 17), 50 * place + index)
    code, out, _ = run("data", "prepare", "torchvision.DTD", "--data-root", tmp_path)
    assert code == 0
    assert "torchvision.datasets.DTD, not verified here" in out
    folder = tmp_path / "torchvision.DTD"
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert len(found) == 12
    assert found[:2] == ["test/banded/0000000.jpg", "test/banded/0000001.jpg"]
    link = folder / "val" / "woven" / "0000003.jpg"
    assert link.samefile(base / "images" / "woven" / "woven_11.jpg")
    dataset = load_dataset("torchvision.DTD", tmp_path, validation=True)
    assert dataset.card.class_names == ["banded", "woven"]
    assert {part: len(split.labels) for part, split in dataset.splits.items()} == {
        "train": 4,
        "validation": 4,
        "test": 4,
    }
    assert is_ready("torchvision.DTD", tmp_path)
    chosen = ["dataset=torchvision.DTD", "model=torchvision.squeezenet1_1"]
    scaled = ["recipe.input.resize=32", "recipe.input.crop=32", "recipe.batch_size=4"]
    assert check(load_suite(write_suite(), [*chosen, *scaled]), tmp_path).trials


def test_decoded_images_are_written_without_loss(tmp_path: Path) -> None:
    base = tmp_path / "downloads" / "oxford-iiit-pet"
    (base / "annotations").mkdir(parents=True)
    for part in ("trainval", "test"):
        lines = []
        for label, breed in enumerate(("Abyssinian", "basset_hound")):
            write_image(base / "images" / f"{breed}_{part}.jpg", (30, 20 + label), 40 * label)
            lines.append(f"{breed}_{part} {label + 1} 1 1")
        (base / "annotations" / f"{part}.txt").write_text("\n".join(lines), encoding="utf-8")
    folder = prepare("torchvision.OxfordIIITPet", tmp_path)
    [written] = (folder / "test" / "Basset Hound").iterdir()
    original = Image.open(base / "images" / "basset_hound_test.jpg").convert("RGB")
    assert written.suffix == ".png"
    assert (np.asarray(Image.open(written)) == np.asarray(original)).all()
    assert load_dataset("torchvision.OxfordIIITPet", tmp_path).card.num_classes == 2


def test_a_fifth_of_each_class_is_held_out(tmp_path: Path) -> None:
    base = tmp_path / "downloads" / "eurosat" / "2750"
    for label, count in enumerate((10, 5, 3)):
        for index in range(count):
            write_image(base / "ABC"[label] / f"{index}.jpg", (64, 64), 10 * index + label)
    dataset = load_prepared(prepare("torchvision.EuroSAT", tmp_path))
    labels = {part: dataset.splits[part].labels for part in ("train", "test")}
    assert [np.bincount(labels[part]).tolist() for part in ("train", "test")] == [
        [8, 4, 2],
        [2, 1, 1],
    ]
    assert dataset.card.class_names == ["A", "B", "C"]
    both = np.concatenate([dataset.splits[part].images for part in ("train", "test")])  # type: ignore[attr-defined]
    assert len({image.tobytes() for image in both}) == 18  # no image is in both, none is lost
    assert "a fifth of each class, drawn with seed 0, is the test set" in dataset.card.note


def test_division_depends_on_the_labels_alone() -> None:
    labels = RANDOM.integers(0, 7, 500)
    first, second = divide(labels), divide(labels.copy())
    assert all((first[part] == second[part]).all() for part in ("train", "test"))
    assert sorted(np.concatenate([first["train"], first["test"]])) == list(range(500))
    for label in range(7):
        count = (labels == label).sum()
        assert (labels[first["test"]] == label).sum() == round(0.2 * count)
    with pytest.raises(DataError, match="class 3 has only one image"):
        divide(np.array([0, 0, 3]))


def test_folders_without_an_official_split_are_divided(tmp_path: Path) -> None:
    base = tmp_path / "downloads" / "caltech101"
    (base / "Annotations").mkdir(parents=True)
    for name in ("ant", "BACKGROUND_Google", "camera"):
        for index in range(1, 7):
            write_image(base / "101_ObjectCategories" / name / f"image_{index:04}.jpg", (30, 20))
    folder = prepare("torchvision.Caltech101", tmp_path)
    assert {len(list((folder / "test" / k).iterdir())) for k in ("ant", "camera")} == {1}
    assert {len(list((folder / "train" / k).iterdir())) for k in ("ant", "camera")} == {5}
    assert {path.suffix for path in folder.rglob("0*")} == {".jpg"}
    assert "drawn with seed 0" in describe_prepared("torchvision.Caltech101", folder)


def test_names_of_classes_become_names_of_folders(tmp_path: Path) -> None:
    data = tmp_path / "downloads" / "fgvc-aircraft-2013b" / "data"
    data.mkdir(parents=True)
    (data / "variants.txt").write_text("707-320\nF-16A/B\n", encoding="utf-8")
    for place, part in enumerate(("train", "val", "test")):
        lines = [f"{place}{n} {name}" for n, name in enumerate(("707-320", "F-16A/B"))]
        (data / f"images_variant_{part}.txt").write_text("\n".join(lines), encoding="utf-8")
        for n in range(2):
            write_image(data / "images" / f"{place}{n}.jpg")
    folder = prepare("torchvision.FGVCAircraft", tmp_path)
    assert sorted(path.name for path in (folder / "train").iterdir()) == ["707-320", "F-16A-B"]

    base = tmp_path / "downloads" / "imagenette2-160"
    for part in ("train", "val"):
        for wnid in ("n01440764", "n02102040"):
            write_image(base / part / wnid / "a.jpeg")
    folder = prepare("torchvision.Imagenette.160px", tmp_path)
    assert sorted(path.name for path in (folder / "val").iterdir()) == ["English springer", "tench"]

    base = tmp_path / "downloads" / "gtsrb"
    for label in range(11):
        write_image(base / "GTSRB" / "Training" / f"{label:05}" / "00000.ppm")
        write_image(base / "GTSRB" / "Final_Test" / "Images" / f"{label:05}.ppm")
    lines = ["Filename;ClassId", *(f"{label:05}.ppm;{label}" for label in range(11))]
    (base / "GT-final_test.csv").write_text("\n".join(lines), encoding="utf-8")
    folder = prepare("torchvision.GTSRB", tmp_path)
    assert [path.name for path in sorted((folder / "test").iterdir())][:3] == ["00", "01", "02"]


class Fake:
    """A data set of another kind, for faults that the files above do not have."""

    def __init__(self, items: list[tuple[Any, Any]]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.items[index]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ((Image.new("L", (16, 16)), None), "image 1 has no label in these files"),
        ((Image.new("L", (16, 17)), 1), "image 1 has another size than the first"),
    ],
)
def test_faulty_items_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: Any, message: str
) -> None:
    items = [(Image.new("L", (16, 16)), 0), second]
    monkeypatch.setattr(datasets, "USPS", lambda *_, **__: Fake(items))
    with pytest.raises(DataError, match=f"torchvision.USPS: {message}"):
        prepare("torchvision.USPS", tmp_path)
    assert not (tmp_path / "torchvision.USPS").exists()


def test_failures_say_what_to_do(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("To download files, 'gdown' is required.")

    def prepared(name: str) -> str:
        code, out, err = run("data", "prepare", name, "--data-root", tmp_path)
        assert (code, out) == (2, "")
        assert "Traceback" not in err
        return " ".join(err.split())

    monkeypatch.setattr(datasets.caltech, "download_and_extract_archive", refuse)
    text = prepared("torchvision.Caltech256")
    assert "torchvision.Caltech256 cannot be prepared: To download files, 'gdown' is req" in text
    assert f"{tmp_path}/downloads/..., as torchvision names them" in text
    text = prepared("torchvision.StanfordCars")
    assert "torchvision.StanfordCars cannot be prepared: Dataset not found" in text
    assert f"{tmp_path}/downloads/stanford_cars/devkit/cars_meta.mat" in text
    assert "choose one of its parts: EMNIST.balanced," in prepared("torchvision.EMNIST")
    assert "did you mean 'torchvision.KMNIST'" in prepared("torchvision.KMNST")
    assert not any(path.name.startswith("torchvision") for path in tmp_path.iterdir())
    assert DATASETS["torchvision.StanfordCars"].create().by_hand


def test_suites_are_told_to_prepare_it(tmp_path: Path, run: Run) -> None:
    for name in ("torchvision.KMNIST", "torchvision.Food101"):
        with pytest.raises(DataError, match=f"run `lossbench data prepare {name} --data-root"):
            load_dataset(name, tmp_path)


def test_a_suite_with_a_refused_data_set_gets_file_and_key(
    write_suite: Callable[..., Path], run: Callable[..., tuple[int, str, str]]
) -> None:
    code, _, err = run("plan", write_suite(), "--set", "dataset=torchvision.CIFAR10")
    assert code == 2
    assert "dataset.name: data set 'torchvision.CIFAR10' cannot be used here" in " ".join(
        err.split()
    )
