"""Conditions of a training set, resolved against the data; mistakes name the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossbench.data.dataset import Dataset
from lossbench.data.loading import load_dataset
from lossbench.data.noise_maps import USUAL_MAPS
from lossbench.data.prepared import make_card, make_dataset
from lossbench.data.resolved_conditions import condition_notes, with_resolved_conditions
from lossbench.data.trial_splits import choose_splits
from lossbench.errors import ParameterError
from lossbench.suite.schema import DatasetChoice
from tests.data.test_noise_maps import CIFAR10

SIZES = (50, 40, 30, 20, 50, 50, 50, 50, 50, 50)


def make(name: str = "cifar10", names: list[str] = CIFAR10) -> Dataset:
    labels = np.repeat(np.arange(len(names)), SIZES[: len(names)])
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 4, 4, 3), dtype=np.uint8)
    arrays = {"train_images": images, "train_labels": labels}
    arrays |= {"test_images": images, "test_labels": labels}
    return make_dataset(arrays, make_card(name, names, "random", "", arrays))


def resolved(dataset: Dataset, **keys: Any) -> DatasetChoice:
    choice = DatasetChoice.model_validate({"name": dataset.card.name, **keys})
    return with_resolved_conditions(choice, dataset)


def map_of(dataset: Dataset, asymmetric: Any) -> Any:
    choice = resolved(dataset, label_noise={"asymmetric": asymmetric})
    assert choice.label_noise is not None
    assert choice.label_noise.asymmetric is not None
    return choice.label_noise.asymmetric.map


PATRINI = [0, 1, 0, 5, 7, 3, 6, 7, 8, 1]


def test_spellings_of_a_map_are_resolved_to_class_numbers() -> None:
    data = make()
    assert map_of(data, 0.4) == PATRINI
    assert map_of(data, {"rate": 0.4}) == PATRINI
    assert map_of(make("other"), {"rate": 0.4, "map": "cifar10"}) == PATRINI
    assert map_of(make("other"), {"rate": 0.4, "map": PATRINI}) == PATRINI
    keep = {"rate": 0.4, "unmapped": "keep"}
    assert map_of(data, {**keep, "map": dict(USUAL_MAPS["cifar10"])}) == PATRINI
    assert (
        map_of(data, {**keep, "map": {9: 1, "bird": 0, 4: "horse", "cat": "dog", 5: 3}}) == PATRINI
    )
    whole = {k: CIFAR10[to] for k, to in enumerate(PATRINI)}
    assert map_of(data, {"rate": 0.4, "map": whole}) == PATRINI
    digits = load_dataset("digits", Path("/nonexistent"))
    expected = [0, 1, 7, 8, 4, 6, 5, 1, 8, 9]
    assert map_of(digits, {"rate": 0.4, "map": "mnist"}) == expected


def test_a_usual_map_with_some_of_its_classes() -> None:
    cats = make().restricted([5, 3, 8])
    assert map_of(cats, 0.4) == [1, 0, 2]
    with pytest.raises(ParameterError, match=r"`classes` leaves out .* changed to: truck -> auto"):
        map_of(make().restricted([9, 3, 5]), 0.4)
    with pytest.raises(ParameterError, match="changes no class") as caught:
        map_of(make().restricted([0, 1, 6]), 0.4)  # the usual map changes none of these
    assert [problem.key for problem in caught.value.problems] == ["label_noise.asymmetric"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("cifar", "no usual map is named 'cifar'; did you mean 'cifar10'"),
        ("mnist", "mnist has classes that this data set lacks: 2, 3, 5, 6, 7, 8 and 1 more"),
        ({"cta": "dog"}, "no class is named 'cta'; did you mean 'cat'"),
        ({"cat": "dgo"}, "no class is named 'dgo'; did you mean 'dog'"),
        ({"cat": 10}, "there is no class 10, only 0 to 9"),
        ({"cat": 1, 3: 2}, "a class is given twice, by name and by number"),
        ([1, 0], "should have 10 class numbers, each below 10"),
        ([10] * 10, "should have 10 class numbers, each below 10"),
        ({}, "changes no class; map a class to another"),
        ({"cat": "cat", 5: "dog"}, "changes no class"),
        (list(range(10)), "changes no class"),
    ],
    ids=str,
)
def test_mistakes_in_a_map(given: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        map_of(make(), {"rate": 0.2, "map": given, "unmapped": "keep"})
    assert [problem.key for problem in caught.value.problems] == ["label_noise.asymmetric.map"]


def test_a_map_that_leaves_classes_out_is_refused() -> None:
    message = (
        "leaves out 8 of 10 classes: airplane, automobile, bird, deer, frog, horse and 2 more; map "
        "them, too, or give `unmapped: keep`"
    )
    with pytest.raises(ParameterError, match=message):
        map_of(make(), {"rate": 0.2, "map": {"cat": "dog", "dog": "cat"}})


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ({"label_noise": {"from": "/nonexistent/a.npy"}}, "label_noise.from", "no such file"),
        ({"per_class": 21}, "per_class", "21 are more than the 20 training images of class cat"),
        ({"per_class": 10, "train_size": 100}, "per_class", "together with train_size"),
        (
            {"imbalance": {"long_tail": 1000}},
            "imbalance.long_tail",
            "1000 leaves 0 of the 50 training images of class frog, with 50 of the largest class",
        ),
        ({"imbalance": {"step": 60}}, "imbalance.step", "60 leaves 0 of the 50 training images"),
        (
            {"per_class": 10, "imbalance": {"step": 20}},
            "imbalance.step",
            "20 leaves 0 of the 10 training images of class dog, with 10 of the largest",
        ),
    ],
    ids=str,
)
def test_mistakes_name_the_key(keys: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        resolved(make(), **keys)
    assert [problem.key for problem in caught.value.problems] == [key]


def test_data_without_a_usual_map_need_one() -> None:
    with pytest.raises(ParameterError, match=r"own has no usual map \(known: cifar10, cifar100"):
        map_of(make("own"), 0.4)


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ({}, "label_noise.key", r"give the name of the labels \(known: clean_label, few, own\)"),
        ({"key": "few"}, "label_noise.from", "has 2 labels, but cifar10 has 440 training images"),
        (
            {"key": "own", "digest": "0"},
            "label_noise.digest",
            r"should be \w{16}, that of the",
        ),
    ],
)
def test_mistakes_with_files(tmp_path: Path, keys: dict[str, Any], key: str, message: str) -> None:
    data = make()
    labels = data.splits["train"].labels
    file = tmp_path / "a.npz"
    np.savez(file, clean_label=labels, few=labels[:2], own=labels[::-1])
    noise = {"from": str(file), **keys}
    with pytest.raises(ParameterError, match=message) as caught:
        resolved(data, label_noise=noise)
    assert [problem.key for problem in caught.value.problems] == [key]


def test_a_file_for_images_in_another_order_is_refused(tmp_path: Path) -> None:
    data = make()
    labels = data.splits["train"].labels
    shuffled = np.random.default_rng(0).permutation(labels)
    np.savez(tmp_path / "a.npz", clean_label=shuffled, own=labels)
    differing = int((shuffled != labels).sum())
    with pytest.raises(ParameterError, match=f"the labels of cifar10 for {differing} of"):
        resolved(data, label_noise={"from": str(tmp_path / "a.npz"), "key": "own"})
    np.save(tmp_path / "a.npy", labels)
    some = data.restricted([0, 1])
    with pytest.raises(ParameterError, match="cannot be given together with `classes`"):
        resolved(some, classes=[0, 1], label_noise={"from": str(tmp_path / "a.npy")})


def notes(dataset: Dataset, **keys: Any) -> list[str]:
    choice = resolved(dataset, **keys)
    return list(condition_notes(dataset, choice, None, 0.0, "noisy"))


def test_notes_count_what_is_wrong(tmp_path: Path) -> None:
    data = make()
    assert notes(data) == []
    assert notes(data, per_class=20) == ["per class: 20 training images of each, 200 in all"]
    wrong = sum(round(0.4 * n) for n in SIZES)
    assert notes(data, label_noise={"symmetric": 0.4, "seed": 2}) == [
        f"label noise: symmetric, 40 % ({wrong} of 440 training labels are wrong), seed 2"
    ]
    wrong = sum(round(0.3 * SIZES[k]) for k in (9, 2, 4, 3, 5))
    assert notes(data, label_noise={"asymmetric": 0.3}) == [
        "label noise: asymmetric, 30 % of each class in bird -> airplane, cat -> dog, "
        "deer -> horse, dog -> cat, truck -> automobile "
        f"({wrong} of 440 training labels are wrong), seed 0"
    ]
    assert notes(data, imbalance={"step": 5}) == [
        "imbalance: step 5, 20 to 4 images per class, 120 in all, seed 0"
    ]


@pytest.mark.parametrize("form", ["folder", "vectors"])
def test_other_forms_of_data(
    form: str, tmp_path: Path, make_files: Callable[[str, Path], np.ndarray]
) -> None:
    """Images as files, and vectors, which are not changed in their order."""
    labels = make_files(form, tmp_path / "own")
    data = load_dataset("own", tmp_path)
    assert data.splits["train"].labels.tolist() == labels.tolist()
    choice = resolved(data, label_noise={"symmetric": 0.5}, imbalance={"step": 3})
    train = choose_splits(data, choice, 0.0)["train"]
    assert len(train.labels) == 6 + 2
    plain = resolved(data, imbalance={"step": 3})
    clean = choose_splits(data, plain, 0.0)["train"]
    assert (train.labels != clean.labels).sum() == 3 + 1
    if form == "vectors":
        assert np.array_equal(train.images, clean.images)  # type: ignore[attr-defined]
    else:
        assert list(train.paths) == list(clean.paths)  # type: ignore[attr-defined]


@pytest.fixture
def make_files() -> Callable[[str, Path], np.ndarray]:
    def make(form: str, folder: Path) -> np.ndarray:
        from PIL import Image

        random = np.random.default_rng(0)
        labels = np.repeat([0, 1], 6)
        if form == "vectors":
            folder.mkdir()
            labels = random.permutation(labels)
            for part in ("train", "test"):
                np.save(folder / f"{part}_features.npy", random.random((12, 3), dtype=np.float32))
                np.save(folder / f"{part}_labels.npy", labels)
            return labels
        for part in ("train", "test"):
            for i, k in enumerate(labels):
                (folder / part / "ab"[k]).mkdir(parents=True, exist_ok=True)
                pixels = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / "ab"[k] / f"{i}.png")
        return labels

    return make
