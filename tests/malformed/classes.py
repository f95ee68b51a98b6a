"""Choices of classes that are ambiguous, unknown or have too few images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lossbench.data.prepared import array_digest
from tests.malformed.corpus import Case

LEXICOGRAPHIC = sorted(str(k) for k in range(1, 12))


def _write(folder: Path, names: list[str], counts: list[int]) -> None:
    folder.mkdir(parents=True)
    labels = np.repeat(np.arange(len(names)), counts)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 1), dtype=np.uint8)
    arrays = {}
    for split in ("train", "test"):
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    card = {
        "name": "mine",
        "num_classes": len(names),
        "class_names": names,
        "source": "random",
        "sha256": {name: array_digest(array) for name, array in arrays.items()},
    }
    (folder / "dataset.json").write_text(json.dumps(card), encoding="utf-8")


def named(name: str, names: list[str], classes: str, *expected: str) -> Case:
    """Classes of a prepared folder are chosen by name or number."""

    def make(folder: Path) -> list[str]:
        _write(folder / "data" / "mine", names, [6] * len(names))
        change = f"dataset={{name: mine, classes: {classes}}}"
        return ["run", "bad.yaml", "--set", change, "--data-root", str(folder / "data")]

    return Case(name, make, expected)


def rare(name: str, counts: list[int], overrides: str, *expected: str) -> Case:
    """Some images of classes of unequal size are chosen; overrides are separated by ` & `."""

    def make(folder: Path) -> list[str]:
        _write(folder / "data" / "mine", ["cars", "boats", "tools"], counts)
        changes = ["--set", "dataset={name: mine}"]
        for override in overrides.split(" & "):
            changes += ["--set", override]
        return ["run", "bad.yaml", *changes, "--data-root", str(folder / "data")]

    return Case(name, make, expected)


CLASSES = [
    named("numbers that are other names", LEXICOGRAPHIC, "[1, 2]", 'dataset.classes: [1, 2] can be read as names and as positions', '["1", "2"] for the classes of these names or ["10", "11"] for those at'),
    named("numbers beside names", LEXICOGRAPHIC, "[1, '2']", "dataset.classes: [1] can be read as names and as positions"),
    named("a number past the end that is a name", LEXICOGRAPHIC, "[11, 0]", "[11, 0] can be read as names and as positions"),
    named("an unknown name", ["cat", "dog", "cow"], "[cat, cwo]", "dataset.classes: no class is named 'cwo'; did you mean 'cow'"),
    named("a name and its number", ["cat", "dog", "cow"], "[cat, 0]", "dataset.classes: given twice: 'cat', by name and by number"),
    named("a name twice", ["cat", "dog", "cow"], "[cat, cat]", "dataset.classes: given twice: cat"),
    named("a name of two classes", ["cat", "cat", "cow"], "[cat, cow]", "2 classes are named 'cat'; give their numbers"),
    named("a class as a list", ["cat", "dog", "cow"], "[[cat], dog]", "dataset.classes: should be"),
    rare("a class of one image held out", [20, 20, 1], "selection={holdout: 0.2}", "selection.holdout: class tools has only one image; both parts need one"),
    rare("a class that train_size leaves one image of", [61, 40, 3], "selection={holdout: 0.2} & dataset.train_size=21", "dataset.train_size: 21 leaves 1 of the 3 images of class tools, and selection.holdout needs 2; choose a larger size"),
    rare("fewer places than classes", [50, 48, 2], "dataset.test_size=2", "dataset.test_size: 2 of 100 images are fewer than the 3 classes"),
    rare("more images than there are", [50, 48, 2], "dataset.train_size=101", "dataset.train_size: 101 images were requested, but there are only 100"),
]  # fmt: skip
