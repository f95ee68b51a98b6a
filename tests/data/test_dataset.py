from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lossbench.assembly.check import check
from lossbench.data.dataset import Dataset
from lossbench.data.prepared import make_card, make_dataset, save_prepared
from lossbench.errors import RequestError
from lossbench.planning.selection import PlanWithResults
from lossbench.report.facts import gather_facts
from lossbench.suite.load import load_suite

Write = Callable[..., Path]
PLACES = [str(k) for k in range(10)]
LEXICOGRAPHIC = sorted(str(k) for k in range(1, 12))  # 1, 10, 11, 2, ...


def make(names: list[str], root: Path | None = None) -> Dataset:
    labels = np.arange(4 * len(names)) % len(names)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 1), dtype=np.uint8)
    arrays: dict[str, np.ndarray] = {}
    for split in ("train", "test"):
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    card = make_card("named", names, "random", "", arrays)
    if root is not None:
        save_prepared(root / "named", arrays, card)
    return make_dataset(arrays, card)


@pytest.mark.parametrize(
    ("names", "classes", "expected"),
    [
        (["cat", "dog", "cow"], ["cow", "cat"], [2, 0]),
        (["cat", "dog", "cow"], [2, 0], [2, 0]),
        (["cat", "dog", "cow"], ["cow", 0], [2, 0]),
        (PLACES, [3, 8], [3, 8]),
        (PLACES, ["3", "8"], [3, 8]),
        (LEXICOGRAPHIC, ["1", "2"], [0, 3]),
        (LEXICOGRAPHIC, ["10", "11"], [1, 2]),
        (["007", "7", "008"], ["7", "007"], [1, 0]),
    ],
)
def test_classes_by_name_and_number(
    names: list[str], classes: list[int | str], expected: list[int]
) -> None:
    dataset = make(names)
    dataset.require_clear_numbers(classes)
    assert dataset.class_numbers(classes) == expected
    restricted = dataset.restricted(dataset.class_numbers(classes))
    assert restricted.card.class_names == [names[k] for k in expected]


@pytest.mark.parametrize(
    ("names", "classes", "readings"),
    [
        (LEXICOGRAPHIC, [1, 2], ['["1", "2"] for the', '["10", "11"] for those at']),
        (LEXICOGRAPHIC, [10, 11], ['["10", "11"] for the classes of these names']),
        (["5", "6", "7"], [0, 1], ['["5", "6"] for those at these positions, counted from 0']),
        (["01", "02", "03"], [1, 2], ['["01", "02"] for the', '["02", "03"] for those']),
        (["0", "1", "7", "3"], [0, 2], ['["0", "7"] for those at']),
        (["0", "1", "3", "2"], [2, 3], ['["2", "3"] for the', '["3", "2"] for those']),
    ],
)
def test_class_numbers_that_may_be_names_are_refused(
    names: list[str], classes: list[int | str], readings: list[str]
) -> None:
    with pytest.raises(ValueError, match="can be read as names and as positions") as caught:
        make(names).require_clear_numbers(classes)
    assert all(reading in str(caught.value) for reading in readings)


@pytest.mark.parametrize("names", [["cat", "dog", "9"], ["0", "1", "rest"], ["a1", "b0", "c2"]])
def test_class_numbers_are_unambiguous_for_other_names(names: list[str]) -> None:
    dataset = make(names)
    dataset.require_clear_numbers([0, 1])


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["cot", "dog"], "no class is named 'cot'; did you mean 'cat'"),
        (["cat", 0], "given twice: 'cat', by name and by number"),
        (["same", "cat"], "2 classes are named 'same'; give their numbers"),
    ],
)
def test_wrong_class_names_are_refused(classes: list[int | str], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        make(["cat", "dog", "same", "same"]).class_numbers(classes)


def test_class_names_and_numbers_give_the_same_trial(write_suite: Write, tmp_path: Path) -> None:
    make(["cat", "dog", "cow"], tmp_path)
    path = write_suite(("dataset: digits", "dataset: {name: named}"))
    plans = [
        check(load_suite(path, [f"dataset.classes={classes}"]), tmp_path)
        for classes in ("[2, 0]", "[cow, cat]", "[cow, 0]")
    ]
    identities = [[trial.identity for trial in plan.trials] for plan in plans]
    assert identities[0] == identities[1] == identities[2]
    assert len({plan.table_identity for plan in plans}) == 1
    assert plans[1].suite.dataset.classes == [2, 0]
    assert plans[1].columns["default"].facts.class_names == ("cow", "cat")
    assert "classes cow, cat" in gather_facts(PlanWithResults(plans[0], {}), "lossbench").dataset


def test_plan_prints_the_classes(
    write_suite: Write, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    make(LEXICOGRAPHIC, tmp_path)
    path = write_suite(("dataset: digits", "dataset: {name: named, classes: ['2', '10']}"))
    code, out, _ = run("plan", path, "--data-root", tmp_path, "--probe", "0")
    assert code == 0
    assert "classes: 2, 10" in out
    numbers = ("--set", "dataset.classes=[1, 2]")
    code, out, err = run("plan", path, "--data-root", tmp_path, *numbers)
    assert (code, out) == (2, "")
    assert "dataset.classes: [1, 2] can be read as names and as positions" in err


def test_message_names_a_class_without_training_images(write_suite: Write, tmp_path: Path) -> None:
    dataset = make(["cat", "dog", "cow"], tmp_path)
    arrays = {
        "train_images": np.zeros((4, 8, 8, 1), np.uint8),
        "train_labels": np.array([0, 1, 0, 1]),
        "test_images": np.zeros((4, 8, 8, 1), np.uint8),
        "test_labels": np.array([0, 1, 2, 1]),
    }
    card = make_card("empty", dataset.card.class_names, "", "", arrays)
    save_prepared(tmp_path / "empty", arrays, card)
    path = write_suite(("dataset: digits", "dataset: {name: empty, classes: [cat, cow]}"))
    with pytest.raises(RequestError, match=r"dataset\.classes: no training images of class cow"):
        check(load_suite(path), tmp_path)
