from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lossbench.assembly import build, check
from lossbench.data.sources import load_dataset
from lossbench.errors import RequestError
from lossbench.suite import load_suite

Write = Callable[..., Path]
NOWHERE = Path("/nonexistent/data")


def test_defaults_are_filled_in(write_suite: Write) -> None:
    plan = check(load_suite(write_suite()), NOWHERE)
    lgm = plan.rows[1].loss.params
    assert lgm["alpha"] == 0.0
    assert (lgm["lambda"], lgm["covariance"]) == (0.1, "identity")
    assert plan.suite.recipe.optimizer.params["weight_decay"] == 0.0


def test_a_spelled_out_default_is_the_same_trial(write_suite: Write) -> None:
    plain = check(load_suite(write_suite()), NOWHERE)
    spelled = check(load_suite(write_suite(), ["losses.lgm.lambda=0.1"]), NOWHERE)
    assert [t.identity for t in plain.trials] == [t.identity for t in spelled.trials]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("losses=[softmaks]", "losses: unknown loss 'softmaks'; did you mean 'softmax'"),
        ("losses.lgm.alfa=1", "losses.lgm.alfa: unknown key; did you mean 'alpha'"),
        ("losses.lgm.alpha=-1", "losses.lgm.alpha: should be greater than or equal to 0, not -1"),
        ("losses.lgm.alpha={grid: [0.1, -1]}", "losses.lgm.alpha: should be greater"),
        ("losses.lgm.alfa={grid: [0.1]}", "losses.lgm.alfa: unknown key"),
        ("losses.lgm.alpha={grid: []}", "losses.lgm.alpha.grid: should be a list of at least one"),
        ("losses.lgm.alpha={grid: 1}", "losses.lgm.alpha.grid: should be a list of at least one"),
        ("losses.lgm.alpha={grid: [1], x: 2}", "a grid stands alone"),
        ("losses.lgm.covariance=full", "losses.lgm.covariance: should be 'identity' or 'diagonal'"),
        ("model.name=digits_cn", "model: unknown model 'digits_cn'; did you mean 'digits_cnn'"),
        ("model.feature_dim=0", "model.feature_dim: should be greater than or equal to 1"),
        ("model.feature_dim={grid: [2, 3]}", "model.feature_dim: a grid stands alone"),
        ("model.name=mnist_cnn", "model: does not take the 1x8x8 images of digits"),
        ("variants={a: {model: {feature_dm: 3}}}", "variants.a.model.feature_dm: unknown key"),
        ("variants={a: {augment: [miror]}}", "unknown augmentation 'miror'; did you mean 'mirror'"),
        ("variants={a: {augment: [random_crop: {pad: 1}]}}", "random_crop.pad: unknown key"),
        ("variants={a: {}, b: {model: {feature_dim: 2}}}", "variants.b: is the same as a"),
        ("recipe.optimizer.name=sdg", "recipe.optimizer: unknown optimizer 'sdg'; did you mean"),
        ("recipe.optimizer.nesterof=true", "recipe.optimizer.nesterof: unknown key"),
        ("recipe.optimizer={name: sgd}", "recipe.optimizer.lr: missing"),
        (
            "recipe.optimizer={name: sgd, lr: 0.1, nesterov: true}",
            "recipe.optimizer.nesterov: needs a momentum",
        ),
        ("recipe.schedule.name=steps", "recipe.schedule: unknown schedule 'steps'; did you mean"),
        ("recipe.schedule=step", "recipe.schedule.every: missing"),
        ("recipe.input.mean=[1.0, 2.0]", "recipe.input.mean: 2 numbers, but images have 1 channel"),
        ("dataset=digit", "dataset.name: unknown data set 'digit'; did you mean 'digits'"),
        ("dataset=mnist", "lossbench data prepare mnist"),
        ("dataset=./nowhere", "nowhere: no prepared data set"),
        ("dataset.train_size=5000", "dataset.train_size: 5000 of 1200 images"),
        ("dataset.train_size=5", "dataset.train_size: 5 of 1200 images"),
        ("selection={holdout: 0.001}", "selection.holdout:"),
        (
            "selection={metric: top5_error}",
            "selection.metric: 'top5_error' is not measured by `evaluate`",
        ),
        ("evaluate=[eror]", "evaluate: unknown evaluation 'eror'; did you mean 'error'"),
        ("reference=lgm(alpha=9)", "reference: 'lgm(alpha=9)' is no row; did you mean"),
    ],
)
def test_wrong_requests(write_suite: Write, override: str, expected: str) -> None:
    with pytest.raises(RequestError) as caught:
        check(load_suite(write_suite(), [override]), NOWHERE)
    assert expected in str(caught.value)
    assert caught.value.exit_code == 2


def test_problems_name_file_and_line(write_suite: Write) -> None:
    path = write_suite(("alpha:", "alfa:"), ("name: sgd", "name: sdg"))
    with pytest.raises(RequestError) as caught:
        check(load_suite(path), NOWHERE)
    assert f"{path}:7: recipe.optimizer: unknown optimizer" in str(caught.value)
    assert f"{path}:11: losses.lgm.alfa: unknown key" in str(caught.value)


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


def test_a_part_of_the_data(write_suite: Write) -> None:
    overrides = ["dataset.train_size=200", "dataset.test_size=100"]
    plan = check(load_suite(write_suite(), overrides), NOWHERE)
    parts = build(plan.trials[0], load_dataset("digits", NOWHERE), torch.device("cpu"))
    assert (len(parts.train.labels), len(parts.measured.labels)) == (200, 100)
    assert torch.bincount(parts.train.labels).min() >= 19
