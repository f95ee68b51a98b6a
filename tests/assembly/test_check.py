from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.errors import RequestError
from lossbench.suite.load import load_suite

Write = Callable[..., Path]
NOWHERE = Path("/nonexistent/data")


def test_defaults_are_filled_in(write_suite: Write) -> None:
    plan = check(load_suite(write_suite()), NOWHERE)
    lgm = plan.rows[1].loss.params
    assert lgm["alpha"] == 0.0
    assert (lgm["lambda"], lgm["covariance"]) == (0.1, "identity")
    assert plan.suite.recipe.optimizer.params["weight_decay"] == 0.0


def test_an_explicit_default_does_not_change_the_trial(write_suite: Write) -> None:
    plain = check(load_suite(write_suite()), NOWHERE)
    spelled = check(load_suite(write_suite(), ["losses.lgm.lambda=0.1"]), NOWHERE)
    assert [t.identity for t in plain.trials] == [t.identity for t in spelled.trials]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("losses=[softmaks]", "losses: unknown loss 'softmaks'; did you mean 'softmax'"),
        ("losses=[mine]", "for a loss of your own, add --plugin FILE.py"),
        ("losses.lgm.alfa=1", "losses.lgm.alfa: unknown key; did you mean 'alpha'"),
        ("losses.lgm.alpha=-1", "losses.lgm.alpha: should be greater than or equal to 0, not -1"),
        ("losses.lgm.alpha={grid: [0.1, -1]}", "losses.lgm.alpha: should be greater"),
        ("losses.lgm.alfa={grid: [0.1]}", "losses.lgm.alfa: unknown key"),
        ("losses.lgm.alpha={grid: []}", "losses.lgm.alpha.grid: should be a list of at least one"),
        ("losses.lgm.alpha={grid: 1}", "losses.lgm.alpha.grid: should be a list of at least one"),
        ("losses.lgm.alpha={grid: [1], x: 2}", "a grid is only allowed as"),
        ("losses.lgm.covariance=full", "losses.lgm.covariance: should be 'identity' or 'diagonal'"),
        ("model.name=digits_cn", "model: unknown model 'digits_cn'; did you mean 'digits_cnn'"),
        ("model.feature_dim=0", "model.feature_dim: should be greater than or equal to 1"),
        ("model.feature_dim={grid: [2, 3]}", "model.feature_dim: a grid is only allowed as"),
        ("model.name=mnist_cnn", "model: does not accept the 1x8x8 images of digits"),
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
        (
            "recipe.schedule={name: cosine, warmup: 200}",
            "recipe.schedule.warmup: 200 epochs are longer than the training",
        ),
        (
            "variants={a: {}, b: {recipe: {schedule: {warmup: 200}}}}",
            "variants.b.recipe.schedule.warmup: 200 epochs are longer than the training",
        ),
        (
            "recipe.schedule={name: step, warmpu: 1}",
            "recipe.schedule.warmpu: unknown key; did you mean 'warmup'",
        ),
        ("recipe.input.mean=[1.0, 2.0]", "recipe.input.mean: 2 numbers, but images have 1 channel"),
        ("dataset=digit", "dataset.name: unknown data set 'digit'; did you mean 'digits'"),
        ("dataset=mnist", "lossbench data prepare mnist"),
        ("dataset=./nowhere", "nowhere: no such folder"),
        (
            "dataset.train_size=5000",
            "dataset.train_size: 5000 images were requested, but there are only 1200",
        ),
        ("dataset.train_size=5", "dataset.train_size: 5 of 1200 images"),
        ("selection={holdout: 0.001}", "selection.holdout:"),
        (
            "selection={metric: top5_error}",
            "selection.metric: 'top5_error' is not measured by `evaluate`",
        ),
        ("evaluate=[eror]", "evaluate: unknown evaluation 'eror'; did you mean 'error'"),
        ("evaluate=[error, error]", "evaluate: error is measured twice"),
        ("evaluate=[fgsm: {epsilons: [2.0]}]", "evaluate.fgsm.epsilons: should be less than"),
        ("evaluate=[fgsm: {epsilon: [0.1]}]", "evaluate.fgsm.epsilon: unknown key; did you mean"),
        ("evaluate=[ten_crop]", "evaluate: ten_crop: requires recipe.input.crop"),
        ("evaluate=[other_images: {dataset: digits}]", "is the data set that the suite trains on"),
        ("evaluate=[other_images: {dataset: nothing}]", "unknown data set 'nothing'"),
        ("evaluate=[verification]", "lfw: no prepared data set; dataset.json is missing"),
        ("recipe.input.crop=9", "recipe.input: a crop of 9 is larger than the images, 8x8"),
        ("recipe.input={crop: 8, resize: 6}", "a crop of 8 is larger than the images, 6x6"),
        ("recipe.precision=float16", "recipe.precision: should be 'float32' or 'bfloat16'"),
        ("dataset.classes=[1, 12]", "dataset.classes: there is no class 12, only 0 to 9"),
        ("dataset.classes=[1, 1]", "dataset.classes: given twice: 1"),
        (
            "selection={compare: [lgm: {alpha: 0.2}]}",
            "selection.compare: is none of the suite's rows: lgm(alpha=0), lgm(alpha=0.3)",
        ),
        ("resources.workers=0", "resources.workers: should be greater than or equal to 1"),
        ("resources.workers=5", "recipe.batch_size: should be a multiple of resources.workers (5)"),
        ("resources.workers=64", "for example 128, not 64"),
        ("reference=lgm(alpha=9)", "reference: 'lgm(alpha=9)' is no row; did you mean"),
    ],
)
def test_messages_on_wrong_values(write_suite: Write, override: str, expected: str) -> None:
    with pytest.raises(RequestError) as caught:
        check(load_suite(write_suite(), [override]), NOWHERE)
    assert expected in str(caught.value)
    assert caught.value.exit_code == 2


def test_selection_by_a_metric_of_other_data_is_refused(
    write_suite: Write, make_folder: Callable[..., Path]
) -> None:
    root = make_folder("mine").parent
    overrides = ["evaluate=[error, other_images: {dataset: mine}]"]
    selection = "selection={metric: other_mine_auroc}"
    with pytest.raises(RequestError, match=r"selection\.metric: .* is measured on other data"):
        check(load_suite(write_suite(), [*overrides, selection]), root)
    assert check(load_suite(write_suite(), [*overrides, "selection={}"]), root).trials


def test_messages_name_file_and_line(write_suite: Write) -> None:
    path = write_suite(("alpha:", "alfa:"), ("name: sgd", "name: sdg"))
    with pytest.raises(RequestError) as caught:
        check(load_suite(path), NOWHERE)
    assert f"{path}:7: recipe.optimizer: unknown optimizer" in str(caught.value)
    assert f"{path}:11: losses.lgm.alfa: unknown key" in str(caught.value)


def test_a_data_set_without_a_test_set(
    write_suite: Write, tmp_path: Path, make_faces: Write
) -> None:
    make_faces(tmp_path / "lfw", folds=6, side=16)
    overrides = ["dataset=lfw_within", "model.name=digits_cnn"]
    with pytest.raises(RequestError, match="evaluate: error needs a test set, and lfw_within has"):
        check(load_suite(write_suite(), overrides), tmp_path)
    plan = check(load_suite(write_suite(), [*overrides, "evaluate=[verification]"]), tmp_path)
    assert plan.trials[0].other_digests.keys() == {"lfw"}
    with pytest.raises(RequestError, match=r"dataset\.test_size: lfw_within has no test set"):
        check(
            load_suite(
                write_suite(), [*overrides, "evaluate=[verification]", "dataset.test_size=3"]
            ),
            tmp_path,
        )
    wrong = [*overrides, "evaluate=[verification: {folds: [1, 7]}]"]
    with pytest.raises(RequestError, match="has no fold 7, only 1 to 6"):
        check(load_suite(write_suite(), wrong), tmp_path)
