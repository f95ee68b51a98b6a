from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from lossbench.assembly.build import build
from lossbench.assembly.check import check
from lossbench.data.loading import load_dataset
from lossbench.data.suite_data import open_dataset
from lossbench.suite.load import load_suite

Write = Callable[..., Path]
NOWHERE = Path("/nonexistent/data")


def test_every_row_starts_from_the_same_model_and_batches(write_suite: Write) -> None:
    plan = check(load_suite(write_suite()), NOWHERE)
    digits, cpu = load_dataset("digits", NOWHERE), torch.device("cpu")
    first, second = (build(trial, digits, cpu).training.model for trial in plan.trials[:2])
    other = build(plan.trials[3], digits, cpu).training.model
    assert plan.trials[0].row != plan.trials[1].row
    assert plan.trials[0].seed != plan.trials[3].seed
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_a_held_out_part_comes_from_the_training_set(write_suite: Write) -> None:
    plan = check(load_suite(write_suite(), ["selection={holdout: 0.25}"]), NOWHERE)
    digits = load_dataset("digits", NOWHERE)
    parts = build(plan.trials[0], digits, torch.device("cpu"))
    assert (len(parts.train.labels), len(parts.measured.labels)) == (900, 300)
    assert parts.measured_name == "holdout"
    together = {
        image.numpy().tobytes() for s in (parts.train, parts.measured) for image in s.images
    }
    assert together == {image.tobytes() for image in digits.splits["train"].images}


def test_train_size_and_test_size_are_applied(write_suite: Write) -> None:
    overrides = ["dataset.train_size=200", "dataset.test_size=100"]
    plan = check(load_suite(write_suite(), overrides), NOWHERE)
    parts = build(plan.trials[0], load_dataset("digits", NOWHERE), torch.device("cpu"))
    assert (len(parts.train.labels), len(parts.measured.labels)) == (200, 100)
    assert torch.bincount(parts.train.labels).min() >= 19


def test_chosen_classes_are_renumbered(write_suite: Write) -> None:
    overrides = ["dataset.classes=[8, 3]"]
    plan = check(load_suite(write_suite(), overrides), NOWHERE)
    all_digits = load_dataset("digits", NOWHERE).splits["test"]
    parts = build(plan.trials[0], open_dataset(plan.suite.dataset, NOWHERE), torch.device("cpu"))
    assert parts.training.head.num_classes == 2
    assert parts.measured is not None
    eights = all_digits.images[all_digits.labels == 8]
    found = torch.cat(list(parts.measured.unaugmented()))[parts.measured.labels == 0]
    assert found.permute(0, 2, 3, 1).numpy().tobytes() == eights.tobytes()
    whole = check(load_suite(write_suite()), NOWHERE)
    assert plan.trials[0].identity != whole.trials[0].identity


def test_the_model_receives_the_central_crop(write_suite: Write) -> None:
    overrides = [
        "recipe.input.crop=6",
        "variants={a: {augment: [random_crop: {padding: 1}]}, b: {}}",
    ]
    plan = check(load_suite(write_suite(), overrides), NOWHERE)
    digits = load_dataset("digits", NOWHERE)
    parts = build(plan.trials[0], digits, torch.device("cpu"))
    order = torch.arange(50)
    [(images, _)] = parts.train.augmented(
        [order], parts.training.augmentations, torch.Generator().manual_seed(0)
    )
    assert images.shape == (50, 1, 6, 6)
    pixels = torch.from_numpy(digits.splits["train"].images[:50]).permute(0, 3, 1, 2)
    [central] = parts.train.unaugmented(order)
    assert torch.equal(central, pixels[:, :, 1:7, 1:7])
    padded = torch.nn.functional.pad(pixels, (1,) * 4)
    for image, source in zip(images, padded, strict=True):
        places = [source[:, y : y + 6, x : x + 6] for y in range(5) for x in range(5)]
        assert any(torch.equal(image, place) for place in places)
