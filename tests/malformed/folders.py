"""Malformed data folders."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from lossbench.data.prepared import array_digest
from tests.malformed.corpus import Case

Edit = Callable[[Path], None]
SPLITS = {"train": 60, "test": 30}


def _root(folder: Path) -> list[str]:
    return ["--data-root", str(folder / "data")]  # absolute: what is open already goes by it


def _write_prepared(folder: Path) -> None:
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    arrays: dict[str, np.ndarray] = {}
    for split, count in SPLITS.items():
        arrays[f"{split}_images"] = random.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count, dtype=np.int64) % 3
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    card = {
        "name": "mine",
        "num_classes": 3,
        "class_names": ["a", "b", "c"],
        "source": "random",
        "sha256": {name: array_digest(array) for name, array in arrays.items()},
    }
    (folder / "dataset.json").write_text(json.dumps(card), encoding="utf-8")


def prepared(name: str, edit: Edit, *expected: str) -> Case:
    """A prepared folder `data/mine` with something wrong in it."""

    def make(folder: Path) -> list[str]:
        _write_prepared(folder / "data" / "mine")
        edit(folder / "data" / "mine")
        return ["run", "bad.yaml", "--set", "dataset=mine", *_root(folder)]

    return Case(name, make, expected)


def replaced(
    name: str, array: str, change: Callable[[np.ndarray], np.ndarray], *expected: str
) -> Case:
    """One array is another one; its digest is right."""

    def edit(folder: Path) -> None:
        new = change(np.load(folder / f"{array}.npy"))
        np.save(folder / f"{array}.npy", new)
        card = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        card["sha256"][array] = array_digest(new) if new.dtype != object else "0"
        (folder / "dataset.json").write_text(json.dumps(card), encoding="utf-8")

    return prepared(name, edit, *expected)


def card(name: str, change: dict[str, object], *expected: str) -> Case:
    """Replace keys of dataset.json; None removes a key."""

    def edit(folder: Path) -> None:
        said = json.loads((folder / "dataset.json").read_text(encoding="utf-8")) | change
        kept = {key: value for key, value in said.items() if value is not None}
        (folder / "dataset.json").write_text(json.dumps(kept), encoding="utf-8")

    return prepared(name, edit, *expected)


def content(name: str, file: str, data: bytes, *expected: str) -> Case:
    return prepared(name, lambda folder: _overwrite(folder / file, data), *expected)


def _overwrite(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _flip(folder: Path) -> None:
    data = bytearray((folder / "test_images.npy").read_bytes())
    data[-1] ^= 1
    (folder / "test_images.npy").write_bytes(data)


def _truncate(folder: Path) -> None:
    data = (folder / "train_images.npy").read_bytes()
    (folder / "train_images.npy").write_bytes(data[:-10])


def _empty_folder(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _card_folder(folder: Path) -> None:
    (folder / "dataset.json").unlink()
    (folder / "dataset.json").mkdir()


def _objects(array: np.ndarray) -> np.ndarray:
    return np.array([{"label": int(k)} for k in array], dtype=object)


PREPARED = [
    prepared("missing array", lambda f: (f / "test_labels.npy").unlink(), "data/mine/test_labels.npy: no such file"),
    prepared("missing card", lambda f: (f / "dataset.json").unlink(), "data/mine: not a data set; it has neither dataset.json nor features.npy, nor tables, nor images"),
    prepared("an empty folder", _empty_folder, "data/mine: not a data set; it has neither dataset.json nor features.npy, nor tables, nor images"),
    prepared("the card is a folder", _card_folder, "data/mine/dataset.json: cannot be read: Is a directory"),
    prepared("a changed byte", _flip, "data/mine/test_images.npy: its sha256 is", "the file was changed or is incomplete"),
    prepared("a truncated array", _truncate, "data/mine/train_images.npy: is not a complete .npy array"),
    content("an empty array file", "train_images.npy", b"", "data/mine/train_images.npy: is not a complete .npy array"),
    content("a text as an array", "train_images.npy", b"1,2,3\n", "data/mine/train_images.npy: is not a complete .npy array"),
    content("a bare pickle", "train_labels.npy", pickle.dumps(print), "data/mine/train_labels.npy: is not a complete .npy array"),
    replaced("an array of objects", "train_labels", _objects, "data/mine/train_labels.npy: is not a complete .npy array: Array can't be memory-mapped: Python objects"),
    replaced("images as floats", "train_images", lambda a: a / 255, "train_images.npy: should be uint8 (N, H, W, C), not float64 (60, 8, 8, 1)"),
    replaced("images without channels", "train_images", lambda a: a[..., 0], "train_images.npy: should be uint8 (N, H, W, C), not uint8 (60, 8, 8)"),
    replaced("images of no size", "test_images", lambda a: a[:, :0], "test_images.npy: "),
    replaced("no images", "test_images", lambda a: a[:0], "test_images.npy: is empty"),
    replaced("test images of another size", "test_images", lambda a: a[:, :7], "test_images.npy: images are (7, 8, 1), those of training are (8, 8, 1)"),
    replaced("labels as int32", "train_labels", lambda a: a.astype(np.int32), "train_labels.npy: should be int64 (N,), not int32 (60,)"),
    replaced("labels one-hot", "train_labels", lambda a: np.eye(3, dtype=np.int64)[a], "train_labels.npy: should be int64 (N,), not int64 (60, 3)"),
    replaced("labels too many", "train_labels", lambda a: np.append(a, 0), "train_labels.npy: 61 labels for 60 images"),
    replaced("labels from 1", "train_labels", lambda a: a + 1, "train_labels.npy: labels go from 1 to 3, but num_classes is 3"),
    replaced("labels negative", "test_labels", lambda a: a - 1, "test_labels.npy: labels go from -1 to 1, but num_classes is 3"),
    replaced("labels all alike", "train_labels", lambda a: 0 * a, "train_labels.npy: all images are of class 0"),
    content("the card is not JSON", "dataset.json", b"{name: mine", "data/mine/dataset.json: invalid JSON"),
    content("the card is empty", "dataset.json", b"", "data/mine/dataset.json: invalid JSON"),
    content("the card is a list", "dataset.json", b"[1]", "data/mine/dataset.json: should be", "not [1]"),
    content("the card is not UTF-8", "dataset.json", b'{"name": "\xff"}', "data/mine/dataset.json: invalid JSON"),
    card("card without classes", {"num_classes": None}, "data/mine/dataset.json: num_classes: missing"),
    card("card with one class", {"num_classes": 1}, "dataset.json: num_classes: should be greater than or equal to 2, not 1"),
    card("card with classes as text", {"num_classes": "3"}, "dataset.json: num_classes: should be a valid integer, not '3'"),
    card("card with four names", {"class_names": ["a", "b", "c", "d"]}, "dataset.json: class_names has 4 names, num_classes is 3"),
    card("card without digests", {"sha256": {}}, "dataset.json: sha256.train_images is missing; add"),
    card("card with a wrong digest", {"sha256": {"train_images": "0" * 64, "train_labels": "0", "test_images": "0", "test_labels": "0"}}, "train_images.npy: its sha256 is", "dataset.json says 000000000000"),
]  # fmt: skip


def chosen(name: str, array: str, known: int, classes: str, *expected: str) -> Case:
    """Classes are chosen, and one array of labels has the first classes only."""

    def make(folder: Path) -> list[str]:
        replaced("", array, lambda a: a % known).make(folder)
        change = f"dataset={{name: mine, classes: {classes}}}"
        return ["run", "bad.yaml", "--set", change, *_root(folder)]

    return Case(name, make, expected)


CHOSEN = [
    chosen("chosen classes without test images", "test_labels", 1, "[2, 1]", "dataset.classes: no test images of the classes chosen"),
    chosen("a chosen class without training images", "train_labels", 2, "[2, 1]", "dataset.classes: no training images of class c"),
]  # fmt: skip


def _write_images(folder: Path) -> None:
    for part in ("train", "val"):
        for k in range(2):
            (folder / part / f"class{k}").mkdir(parents=True)
            for i in range(3):
                colour = (100 * k, 20 * i, 90)
                Image.new("RGB", (10 + i, 12), colour).save(folder / part / f"class{k}/{i}.png")


def images(name: str, edit: Edit, *expected: str, crop: int = 8, resize: str = "8") -> Case:
    """A folder of images `data/photos` with something wrong in it."""

    def make(folder: Path) -> list[str]:
        _write_images(folder / "data" / "photos")
        edit(folder / "data" / "photos")
        view = f"recipe.input={{resize: {resize}, crop: {crop}}}"
        model = "model=digits_cnn"
        changes = ["--set", "dataset=photos", "--set", view, "--set", model]
        return ["run", "bad.yaml", *changes, *_root(folder)]

    return Case(name, make, expected)


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _suffix(folder: Path, suffix: str) -> None:
    for path in folder.iterdir():
        path.rename(path.with_suffix(suffix))


def _one_class(folder: Path) -> None:
    for part in ("train", "val"):
        _remove(folder / part / "class1")


def _empty_class(folder: Path) -> None:
    for path in (folder / "train/class1").iterdir():
        path.unlink()


def _lost_link(folder: Path) -> None:
    (folder / "train/class0/0.png").unlink()
    (folder / "train/class0/0.png").symlink_to("nowhere.png")


def _cut(folder: Path) -> None:
    path = folder / "train/class0/1.png"
    path.write_bytes(path.read_bytes()[:45])


def _renamed(folder: Path) -> None:
    (folder / "train").rename(folder / "fit")
    (folder / "val").rename(folder / "rest")


def _heic(folder: Path) -> None:
    for path in list((folder / "train/class0").iterdir()):
        path.rename(path.with_suffix(".heic"))


IMAGES = [
    images("only val", lambda f: (f / "train").rename(f / "rest"), "data/photos: has val, but no train; is it complete?"),
    images("classes differ", lambda f: (f / "val/class1").rename(f / "val/class2"), "data/photos/train: lacks 1 of the 2 classes in val, such as class2"),
    images("a class lacks in val", lambda f: _remove(f / "val/class1"), "data/photos/val: has no images for 1 of 2 classes, such as class1 (there is no such folder)", "set dataset.missing_test_classes: allow"),
    images("a class of val has other files only", lambda f: _suffix(f / "val/class1", ".heic"), "data/photos/val: has no images for 1 of 2 classes, such as class1 (its folder is without images, but files such as class1/", ".heic; known suffixes"),
    images("eval for val", lambda f: (f / "val").rename(f / "eval"), "bad.yaml: evaluate: error needs a test set, and photos has none: looked for test/, validation/, valid/, val/, dev/; found eval/"),
    images("other names for the splits", _renamed, "data/photos: not a data set; it has neither dataset.json nor features.npy, nor tables, nor images in folders of classes; images such as fit/class0/0.png are too deep"),
    images("floats", lambda f: Image.new("F", (9, 9)).save(f / "train/class0/1.tiff"), "data/photos/train/class0/1.tiff: floating-point images are not supported"),
    images("a class of other files", _heic, "data/photos/train/class0: has no images, but files such as 0.heic; known suffixes: .apng, .avif, .bmp"),
    images("one class of images", _one_class, "data/photos/train: should have a folder for each of two or more classes"),
    images("an empty class", _empty_class, "data/photos/train/class1: has no images; was the data set extracted completely?"),
    images("an empty image", lambda f: _overwrite(f / "val/class0/1.png", b""), "data/photos/val/class0/1.png: is empty"),
    images("a broken image", _cut, "data/photos/train/class0/1.png: does not decode"),
    images("a text named jpg", lambda f: _overwrite(f / "train/class0/9.jpg", b"hello\n"), "data/photos/train/class0/9.jpg: does not decode"),
    images("a lost link", _lost_link, "data/photos/train/class0/0.png: cannot be read: No such file"),
    images("no crop", lambda f: None, "recipe.input: these images differ in size (", " images were looked at): give recipe.input.crop", crop="null"),  # type: ignore[arg-type]
    images("a crop above the resize", lambda f: None, "recipe.input: a crop of 9 is larger than images resized to 8", crop=9),
    images("ten crops of small images", lambda f: None, "recipe.input: ", "data/photos/train/class0/0.png: its shorter side of 10 is too small for a crop of 11", crop=11, resize="null"),
]  # fmt: skip


def faces(name: str, edit: Edit, *expected: str) -> Case:
    """A folder `data/lfw` with something wrong in it; lfw_within trains on it."""

    def make(folder: Path) -> list[str]:
        _write_faces(folder / "data" / "lfw")
        edit(folder / "data" / "lfw")
        command = ["run", "bad.yaml", "--set", "dataset=lfw_within"]
        return [*command, "--set", "evaluate=[verification]", *_root(folder)]

    return Case(name, make, expected)


def _write_faces(folder: Path) -> None:
    people = [f"Person_{k}" for k in range(15)]
    labels = np.repeat(np.arange(15), 4)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    lines = ["6\t2"]
    for fold in range(6):
        a, b = people[2 * fold : 2 * fold + 2]
        lines += [f"{a}\t1\t2", f"{b}\t1\t2", f"{a}\t3\t{b}\t4", f"{b}\t3\t{a}\t4"]
    folder.mkdir(parents=True)
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    arrays = {"images": pixels, "labels": labels}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    said = {
        "name": "lfw",
        "num_classes": 15,
        "class_names": people,
        "source": "random",
        "files": [f"{people[k]}_{i % 4 + 1:04d}.jpg" for i, k in enumerate(labels)],
        "sha256": {name: array_digest(array) for name, array in arrays.items()},
    }
    (folder / "dataset.json").write_text(json.dumps(said), encoding="utf-8")


def _pairs(old: str, new: str) -> Edit:
    def edit(folder: Path) -> None:
        text = (folder / "pairs.txt").read_text(encoding="utf-8")
        assert old in text
        (folder / "pairs.txt").write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


FACES = [
    faces("no faces", lambda f: (f / "images.npy").unlink(), "data/lfw/images.npy: no such file"),
    faces("no pairs", lambda f: (f / "pairs.txt").unlink(), "data/lfw/pairs.txt"),
    faces("a missing face", _pairs("Person_0\t1\t2", "Person_0\t1\t9"), "data/lfw/pairs.txt:2: there is no face Person_0_0009.jpg; Person_0 has 4"),
    faces("a missing person", _pairs("Person_0\t1\t2", "Persn_0\t1\t2"), "pairs.txt:2: there is no face Persn_0_0001.jpg; did you mean 'Person_0'"),
    faces("a broken pair", _pairs("Person_0\t1\t2", "Person_0\tone\t2"), "data/lfw/pairs.txt:2: should be NAME I J"),
    faces("a lost pair", _pairs("Person_0\t1\t2\n", ""), "data/lfw/pairs.txt: 23 pairs, but 6 folds of 2 x 2 are 24"),
    faces("pairs without a head", _pairs("6\t2\n", ""), "data/lfw/pairs.txt:1: should be the number of folds and of pairs"),
]  # fmt: skip


def _plain(name: str, override: str, *expected: str) -> Case:
    return Case(name, lambda _: ["run", "bad.yaml", "--set", override], expected)


def _compare_faces(folder: Path) -> list[str]:
    _write_faces(folder / "data" / "lfw")
    change = "evaluate=[other_images: {dataset: lfw}]"
    return ["run", "bad.yaml", "--set", change, *_root(folder)]


def vectors(name: str, edit: Edit, *expected: str, change: str = "model=identity") -> Case:
    """A folder of embeddings `data/vectors` with something wrong in it."""

    def make(folder: Path) -> list[str]:
        _write_vectors(folder / "data" / "vectors")
        edit(folder / "data" / "vectors")
        changes = {"dataset": "vectors", "model": "identity"}
        key, _, value = change.partition("=")
        sets = [f"--set={k}={v}" for k, v in {**changes, key: value}.items()]
        return ["run", "bad.yaml", *sets, *_root(folder)]

    return Case(name, make, expected)


def _write_vectors(folder: Path) -> None:
    folder.mkdir(parents=True)
    for split, count in SPLITS.items():
        features = np.random.default_rng(count).normal(size=(count, 5)).astype(np.float32)
        np.save(folder / f"{split}_features.npy", features)
        np.save(folder / f"{split}_labels.npy", np.arange(count) % 3)


def _array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Edit:
    def edit(folder: Path) -> None:
        np.save(folder / f"{name}.npy", change(np.load(folder / f"{name}.npy")))

    return edit


def _with_a_nan(array: np.ndarray) -> np.ndarray:
    array[7, 2] = np.nan
    return array


def _said(**card: object) -> Edit:
    return lambda folder: _overwrite(folder / "dataset.json", json.dumps(card).encode())


def _one_pair(change: Callable[[np.ndarray], np.ndarray]) -> Edit:
    def edit(folder: Path) -> None:
        for kind in ("features", "labels"):
            (folder / f"train_{kind}.npy").rename(folder / f"{kind}.npy")
            (folder / f"test_{kind}.npy").unlink()
        _array("labels", change)(folder)

    return edit


VECTORS = [
    vectors("vectors without labels", lambda f: (f / "test_labels.npy").unlink(), "data/vectors/test_labels.npy: no such file"),
    vectors("vectors to test only", lambda f: (f / "train_features.npy").unlink(), "data/vectors: has test_features.npy, but no train_features.npy"),
    vectors("vectors in float64", _array("train_features", lambda a: a.astype(float)), "train_features.npy: should be float32 (N, D), not float64 (60, 5)"),
    vectors("maps for vectors", _array("train_features", lambda a: a[..., None]), "train_features.npy: should be float32 (N, D), not float32 (60, 5, 1)"),
    vectors("no vectors", _array("test_features", lambda a: a[:0]), "test_features.npy: is empty"),
    vectors("vectors of other sizes", _array("test_features", lambda a: a[:, 1:]), "test_features.npy: vectors have 4 numbers, those of training 5"),
    vectors("a vector with a NaN", _array("train_features", _with_a_nan), "train_features.npy: row 7 has a number that is not finite"),
    vectors("too few labels of vectors", _array("train_labels", lambda a: a[1:]), "train_labels.npy: 59 labels for 60 vectors"),
    vectors("labels of vectors in bytes", _array("train_labels", lambda a: a.astype(np.uint8)), "train_labels.npy: should be int64 (N,), not uint8 (60,)"),
    vectors("negative labels of vectors", _array("train_labels", lambda a: a - 1), "train_labels.npy: labels go from -1 to 1"),
    vectors("a class to test only", _array("test_labels", lambda a: a + 1), "test_labels.npy: labels go from 1 to 3, but train_labels has 3 classes"),
    vectors("gaps between classes", _array("train_labels", lambda a: a * 9), "train_labels.npy: labels go up to 18, but only 3 are there; number the classes from 0"),
    vectors("vectors of one class", _array("train_labels", lambda a: 0 * a), "train_labels.npy: all vectors are of one class"),
    vectors("vectors and fewer names", _said(class_names=["a", "b"]), "labels go from 0 to 2, but dataset.json has 2 classes"),
    vectors("vectors and two counts", _said(class_names=["a", "b", "c"], num_classes=4), "class_names has 3 names, num_classes is 4"),
    vectors("vectors and another digest", _said(sha256={"train_features": "0"}), "train_features.npy: its sha256 is"),
    vectors("a class with one vector", _one_pair(lambda a: np.r_[a[1:], 3]), "labels.npy: class 3 has only one vector; both parts need one; give train_ and test_"),
    vectors("vectors are not augmented", lambda f: None, "variants.a.augment: vectors has vectors, not images", change="variants={a: {augment: [mirror]}}"),
    vectors("vectors are not scaled", lambda f: None, "recipe.input: vectors has vectors, not images: vectors are used unchanged", change="recipe.input.std=1.0"),
    vectors("vectors are not attacked", lambda f: None, "evaluate: fgsm is measured on images, and vectors has vectors", change="evaluate=[error, fgsm]"),
    vectors("vectors to a network", lambda f: None, "model: vectors has vectors, not images, which digits_cnn does not accept; use identity or mlp", change="model=digits_cnn"),
]  # fmt: skip


OTHER = [
    _plain("data not prepared", "dataset=mnist", "lossbench data prepare mnist"),
    _plain("data at no path", "dataset=./nowhere", "nowhere: no such folder"),
    _plain("data in a file", "dataset=./bad.yaml", "bad.yaml"),
    _plain("data with a licence", "dataset=imagenet", "imagenet cannot be downloaded automatically", "Put it, or a link to it, at data/imagenet"),
    Case("faces as images of classes", _compare_faces, ("data/lfw: has faces for `verification`", "use lfw_within for that")),
    Case("prepare misspelt", lambda _: ["data", "prepare", "minst"], ("unknown data set 'minst'; did you mean 'mnist'",)),
    Case("prepare what has a licence", lambda _: ["data", "prepare", "imagenet"], ("imagenet cannot be downloaded", "Put it, or a link to it, at data/imagenet")),
]  # fmt: skip

FOLDERS = [*PREPARED, *CHOSEN, *IMAGES, *FACES, *VECTORS, *OTHER]
