"""Only trainings whose numbers have changed get another identity."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lossbench.assembly.check import check
from lossbench.data.facts import data_facts
from lossbench.data.loading import load_dataset
from lossbench.data.prepared import make_card, save_prepared
from lossbench.errors import RequestError
from lossbench.planning.plan import Plan
from lossbench.planning.revisions import DataFacts, TrainingParts, revisions_of
from lossbench.suite.load import load_suite
from lossbench.suite.schema import Component, Recipe
from lossbench.training.schedules import SCHEDULES

Write = Callable[..., Path]
NOWHERE = Path("/nonexistent/data")


def laid_out(path: Path, *overrides: str, root: Path = NOWHERE) -> Plan:
    return check(load_suite(path, overrides), root)


def test_a_revision_is_part_of_the_identity_only_if_there_is_one(write_suite: Write) -> None:
    trial = laid_out(write_suite()).trials[0]
    assert trial.revisions == {}
    again = trial.model_copy(update={"revisions": {"central crop": 2}})
    assert again.identity != trial.identity
    assert again.model_copy(update={"revisions": {}}).identity == trial.identity
    stored = trial.model_dump(mode="json", exclude={"revisions"})
    assert type(trial).model_validate_json(trial.model_dump_json()).identity == trial.identity
    assert "revisions" not in stored


@pytest.mark.parametrize(
    ("size", "touched"),
    [
        ("crop: 8", False),
        ("crop: 7", False),
        ("crop: 6", False),
        ("crop: 5", True),
        ("crop: 4", False),
        ("resize: 12, crop: 8", False),
        ("resize: 11, crop: 8", True),
        ("resize: 11", False),
    ],
)
def test_revision_of_the_central_crop_affects_margins_of_3_7_11(
    write_suite: Write, size: str, touched: bool
) -> None:
    trial = laid_out(write_suite(), f"recipe.input={{{size}}}").trials[0]
    assert trial.revisions == ({"central crop": 2} if touched else {})


def test_revision_of_the_central_crop_affects_images_of_different_sizes(
    write_suite: Write, tmp_path: Path
) -> None:
    for split, k, number in [(s, k, n) for s in ("train", "val") for k in "ab" for n in range(3)]:
        path = tmp_path / "own" / split / k / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + number, 24)).save(path)
    dataset = load_dataset(str(tmp_path / "own"), tmp_path)
    suite = load_suite(write_suite(), ["recipe.input={resize: 12, crop: 12}"])
    facts = data_facts(dataset, suite.dataset, suite.recipe, holdout=0.0, workers=1)
    assert facts.crop_margins is None


def test_revision_of_the_central_crop_affects_values_of_earlier_versions_on_other_images(
    write_suite: Write, make_folder: Callable[..., Path], make_faces: Callable[..., None]
) -> None:
    root = make_folder("mine", side=11).parent
    make_faces(root / "lfw", side=19)
    colour = make_folder("colour", side=17, channels=3)
    model = "model={name: face_resnet, feature_dim: 2}"
    view = "recipe.input={crop: 16}"
    verified = "evaluate=[verification: {folds: [1, 2]}]"
    data = f"dataset={colour}"
    assert laid_out(write_suite(), data, model, view, root=root).trials[0].revisions == {}
    found = laid_out(write_suite(), data, model, view, verified, root=root).trials[0]
    assert found.revisions == {}  # it is trained on the same images
    assert [e.rounding_changed for e in found.evaluate] == [True]
    squares = "evaluate=[error, other_images: {dataset: mine}]"  # no margin: both are square
    found = laid_out(write_suite(), squares, root=root).trials[0]
    assert [e.rounding_changed for e in found.evaluate] == [False, False]


def test_revision_affects_every_random_resized_crop(write_suite: Write) -> None:
    crop = "variants={a: {augment: [random_resized_crop]}, b: {augment: [mirror]}}"
    found = {t.variant: t.revisions for t in laid_out(write_suite(), crop).trials}
    assert found == {"a": {"random_resized_crop": 2}, "b": {}}


def of_schedule(epochs: int, steps: int, name: str, **params: object) -> dict[str, int]:
    recipe = Recipe(
        epochs=epochs,
        batch_size=2,
        optimizer=Component(name="sgd"),
        schedule=Component(name=name, params=params),
    )
    facts = DataFacts(steps={0.0: steps})
    return revisions_of(TrainingParts(recipe, (), Component(name="softmax"), 0.0, False, facts))


@pytest.mark.parametrize("steps", [1, 3, 10, 25, 50])
@pytest.mark.parametrize("value", [0.01, 0.07, 0.1, 0.3, 1.36, 2.3, 3.2])
def test_revision_affects_schedules_if_a_learning_rate_changes(value: float, steps: int) -> None:
    for epochs in (1, 2, 7):
        done = [index // steps + index % steps / steps for index in range(epochs * steps)]
        now = SCHEDULES["step"].create(epochs, every=value)
        differs = any(now(at) != 0.1 ** math.floor(at / value) for at in done)
        found = of_schedule(epochs, steps, "step", every=value, gamma=0.1)
        assert found == ({"schedule": 2} if differs else {})
        now = SCHEDULES["multistep"].create(epochs, milestones=[value])
        differs = any(now(at) != 0.1 ** bisect.bisect_right([value], at) for at in done)
        found = of_schedule(epochs, steps, "multistep", milestones=[value], gamma=0.1)
        assert found == ({"schedule": 2} if differs else {})


def test_revision_affects_a_schedule_of_a_suite(write_suite: Write) -> None:
    """1,200 images in batches of 120 are ten steps an epoch."""
    batch = "recipe.batch_size=120"
    touched = laid_out(write_suite(), batch, "recipe.schedule={name: step, every: 0.1}")
    assert touched.trials[0].revisions == {"schedule": 2}
    untouched = laid_out(write_suite(), batch, "recipe.schedule={name: step, every: 0.5}")
    assert untouched.trials[0].revisions == {}
    late = "recipe.schedule={name: multistep, milestones: [1.36]}"
    assert laid_out(write_suite(), "recipe.batch_size=48", late).trials[0].revisions == {
        "schedule": 2
    }


def test_revision_affects_a_held_out_part_that_had_one_more_image(write_suite: Write) -> None:
    plan = laid_out(write_suite(), "selection={holdout: 0.07}")
    assert plan.trials[0].revisions == {"held-out part": 2}
    assert plan.trial(plan.rows[0], "default", 0).revisions == {}
    assert laid_out(write_suite(), "selection={holdout: 0.1}").trials[0].revisions == {}


def long_tailed(root: Path) -> None:
    """Training images of three classes: 50, 48 and 2; test images: 30, 29 and 1."""
    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for split, counts in (("train", (50, 48, 2)), ("test", (30, 29, 1))):
        labels = random.permutation(np.repeat(np.arange(3), counts))
        arrays[f"{split}_images"] = random.integers(0, 256, (len(labels), 8, 8, 1), dtype=np.uint8)
        arrays[f"{split}_labels"] = labels.astype(np.int64)
    card = make_card("tailed", ["cars", "boats", "tools"], "random", "", arrays)
    save_prepared(root / "tailed", arrays, card)


@pytest.mark.parametrize(
    ("override", "touched"),
    [
        ("dataset.train_size=20", True),
        ("dataset.train_size=90", False),
        ("dataset.test_size=30", True),
        ("selection={holdout: 0.1}", True),
        ("selection={holdout: 0.5}", False),
    ],
)
def test_revision_affects_draws_that_lost_a_class(
    write_suite: Write, tmp_path: Path, override: str, touched: bool
) -> None:
    long_tailed(tmp_path / "data")
    path = write_suite(("dataset: digits", "dataset: {name: tailed}"))
    plan = laid_out(path, override, root=tmp_path / "data")
    assert plan.trials[0].revisions == ({"subset": 2} if touched else {})
    assert min(min(counts) for counts in plan.columns["default"].facts.class_counts.values()) >= 1


def test_small_classes_are_reported(
    write_suite: Write, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    long_tailed(tmp_path / "data")
    path = write_suite(("dataset: digits", "dataset: tailed"))
    expected = (
        "1 of 3 classes has fewer than 10 training images: tools 1",
        "1 of 3 classes has fewer than 10 test images: tools 1",
    )
    options = ("--data-root", tmp_path / "data", "--set", "dataset.train_size=40")
    for form in (("--probe", "0"), ("--audit",)):
        code, out, _ = run("plan", path, *options, *form)
        assert code == 0
        for line in expected:
            assert line in " ".join(out.split())


def test_a_class_that_cannot_be_held_out_is_named(write_suite: Write, tmp_path: Path) -> None:
    long_tailed(tmp_path / "data")
    path = write_suite(("dataset: digits", "dataset: {name: tailed}"))
    overrides = ("dataset.train_size=20", "selection={holdout: 0.2}")
    with pytest.raises(RequestError, match=r"train_size: 20 leaves 1 of the 2 images of class"):
        laid_out(path, *overrides, root=tmp_path / "data")
