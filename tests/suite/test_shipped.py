"""Every suite in `suites/`: parsed, planned, dry-run."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lossbench.analysis.published import published_numbers, published_problems
from lossbench.assembly.check import check
from lossbench.cli.new import write_suite
from lossbench.errors import RequestError
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).resolve().parents[2]
SUITES = sorted((REPOSITORY / "suites").glob("*.yaml"))
STAND_INS = {
    "mnist": (28, 1, 10, 60),
    "cifar10": (32, 3, 10, 100),
    "cifar100": (32, 3, 100, 10_000),
}
"""Side, channels, classes and number of random images in place of data that cannot be shipped.

An imbalance of 100 leaves one of the 100 images of the last class."""
REDUCED = {
    "cifar100": ["model.width=2", "dataset.train_size=1000"],
    "imagenet": [
        "model=resnet18",
        "recipe.precision=float32",
        "recipe.input={resize: 40, crop: 32}",
        "resources={}",
    ],
    "lfw": ["model.width=1", "resources={}", "recipe.optimizer.lr=0.001"],
    "lfw_within": ["model.width=1"],
    "long_tail": ["model.depth=8", "model.width=2", "recipe.schedule.warmup=0.5"],
    "mnist_adversarial": [
        "evaluate=[error, fgsm, fgsm: {objective: float32_cross_entropy}, targeted_fgsm, "
        "pgd: {steps: 1}, other_images: {dataset: cifar10}]"
    ],
    "objectives": [
        "model.depth=8",
        "model.width=2",
        "recipe.precision=float32",
        "dataset.train_size=1000",
    ],
    "sweep_cifar100": ["model.width=2", "dataset.train_size=1000"],
}
"""Overrides that make one step of a suite affordable."""
FEWER_IMAGES = {
    "long_tail_mnist_small": ["dataset={name: mnist, per_class: 6, imbalance: {long_tail: 6}}"],
    "noisy_mnist_small": ["dataset.train_size=50"],
}
"""Overrides of suites that use more images than the stand-ins have."""


@pytest.fixture
def data_root(
    make_folder: Callable[..., Path], make_faces: Callable[..., None], tmp_path: Path
) -> Path:
    root = tmp_path / "data"
    for name, (side, channels, classes, train) in STAND_INS.items():
        make_folder(name, side=side, channels=channels, classes=classes, train=train)
    for part in ("imagenet/train", "imagenet/val", "casia_webface"):
        for k in range(3):
            (root / part / f"class{k}").mkdir(parents=True)
            for i in range(4):
                colour = (60 * k, 20 * i, 90)
                Image.new("RGB", (48 + i, 50), colour).save(root / part / f"class{k}/{i}.JPEG")
    make_faces(root / "lfw")
    return root


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_a_shipped_suite_plans_and_takes_one_step(
    path: Path, data_root: Path, tmp_path: Path
) -> None:
    fewer = FEWER_IMAGES.get(path.stem, [])
    suite = load_suite(path, fewer)
    assert suite.suite == path.stem
    assert suite.title
    plan = check(suite, data_root)
    assert published_problems(suite, plan.metrics) == []
    cells = {(t.variant, t.row): t for t in plan.trials}
    assert len(plan.trials) == len(cells) * len(suite.seeds)

    few = ["recipe.epochs=1", *fewer, *REDUCED.get(path.stem, [])]
    trials = check(load_suite(path, few), data_root).trials
    for number in {0, len(cells) - 1}:  # every row is dry-run by `check` already
        folder = tmp_path / str(number)
        folder.mkdir()
        trial = trials[number]
        result = run_trial(trial, data_root=data_root, artifacts=folder)
        assert len(result.history) == 1
        measured = {m.name for m in plan.metrics if trial.variant in plan.variants_with(m)}
        assert set(result.metrics) == measured


def test_published_numbers_match_rows(data_root: Path) -> None:
    expected = {
        "mnist": {"error": {"2-D": 6, "100-D": 6}},
        "cifar10": {"error": {"ResNet-20": 4, "ResNet-56": 4, "ResNet-110": 4}},
        "cifar100": {"error": {"C100": 6, "C100+": 6}},
        "imagenet": {
            name: {"ResNet-101": 2}
            for name in ("error", "top5_error", "ten_crop_error", "ten_crop_top5_error")
        },
        "lfw": {"verification_accuracy": {"0.49M": 6}},
        "long_tail": {
            "error": {f"imbalance {factor}": 1 for factor in (10, 50, 100)},
            "balanced_error": {"imbalance 10": 1, "imbalance 50": 0, "imbalance 100": 1},
        },
        "noisy_labels": {"error": dict.fromkeys(("clean", "noise 20", "noise 40", "noise 60"), 5)},
        "mnist_adversarial": {
            **{
                name: {"default": 3}
                for attack in ("fgsm", "float32_fgsm")
                for name in (
                    "error",
                    *(f"{attack}_{epsilon}_error" for epsilon in (0.1, 0.2, 0.3)),
                    f"{attack}_0.3_eer",
                )
            },
            "targeted_fgsm_0.3_error": {"default": 1},
            "targeted_fgsm_0.3_eer": {"default": 1},
        },
    }
    found = {}
    for path in SUITES:
        suite = load_suite(path)
        if suite.published is None:
            continue
        plan = check(suite, data_root)
        numbers = {
            metric.name: {
                variant: len(published_numbers(suite.published, metric.name, variant, plan.rows))
                for variant in suite.variants
            }
            for metric in plan.metrics
        }
        found[path.stem] = {name: by for name, by in numbers.items() if any(by.values())}
    assert found == expected


def test_suites_on_digits_have_the_same_recipe_with_clipped_gradients() -> None:
    """Without clipping, 2-D triplet diverges with some seeds, depending on the processor."""
    suites = {suite.suite: suite for suite in map(load_suite, SUITES)}
    recipes = {name: s.recipe for name, s in suites.items() if s.dataset.name == "digits"}
    shortened = recipes.pop("tuned_digits")
    assert len(recipes) == 5
    assert all(recipe == recipes["digits"] for recipe in recipes.values())
    assert shortened.clip_norm == recipes["digits"].clip_norm == 2.0


def test_identities_are_those_of_versions_without_warm_up(tmp_path: Path) -> None:
    """The pinned identities were computed before schedules had the key `warmup`."""
    path = next(path for path in SUITES if path.stem == "digits")
    pinned = {
        "seeds=[0]": "49d00e0d7b10395f",
        "recipe.schedule=cosine": "b9b23de84505b06f",
        "recipe.schedule={name: cosine, minimum: 0, warmup: 0}": "b9b23de84505b06f",
    }
    for override, identity in pinned.items():
        assert check(load_suite(path, [override]), tmp_path).trials[0].identity == identity


def test_digits_has_all_losses_and_mnist_is_table_1(data_root: Path) -> None:
    own = [path for path in SUITES if path.stem in ("digits", "mnist")]
    plans = {path.stem: check(load_suite(path), data_root) for path in own}
    table_1 = {
        "softmax", "center", "l_softmax", "lgm(alpha=0)", "lgm(alpha=0.3)", "lgm(alpha=1)",
    }  # fmt: skip
    assert {row.label for row in plans["mnist"].rows} == table_1
    assert {row.label for row in plans["digits"].rows} == table_1 | {"contrastive", "triplet"}
    assert len(plans["digits"].trials) == 8 * 2 * 5
    assert len(plans["mnist"].trials) == 6 * 2 * 3


def test_real_mnist_learns(real_mnist: Path, tmp_path: Path) -> None:
    path = next(path for path in SUITES if path.stem == "mnist")
    overrides = ["recipe.epochs=1", "dataset.train_size=4500", "dataset.test_size=500"]
    plan = check(load_suite(path, overrides), real_mnist).narrowed("100-D/lgm(alpha=1)")
    result = run_trial(plan.trials[0], data_root=real_mnist, artifacts=tmp_path)
    assert result.status == "finished"
    assert result.metrics["error"] < 20


def test_message_on_a_missing_suite_names_the_command_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        RequestError, match=r"`lossbench new suite mnist` writes suites/mnist\.yaml"
    ):
        load_suite(Path("mnist.yaml"))
    write_suite("mnist", Path("suites"))
    with pytest.raises(RequestError, match=r"did you mean 'suites/mnist\.yaml'"):
        load_suite(Path("mnist.yaml"))


def test_the_wheel_has_every_package() -> None:
    listed = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]
    there = {path.parent for path in (REPOSITORY / "lossbench").rglob("__init__.py")}
    packages = {".".join(path.relative_to(REPOSITORY).parts) for path in there}
    assert set(listed["packages"]) == packages | {"lossbench.suites", "lossbench.docs"}
