"""Label noise, imbalance and sizes of a suite, from the suite file to the numbers of a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossbench.assembly.check import check
from lossbench.data.loading import load_dataset
from lossbench.data.prepared import make_card, save_prepared
from lossbench.planning.plan import Plan
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from tests.data.slow_conditions import slow_asymmetric, slow_sizes, slow_subset, slow_symmetric

SUITE = """\
suite: conditions
dataset: {name: mine}
model: {name: mlp, feature_dim: 2, hidden: [8]}
recipe:
  epochs: 2
  batch_size: 16
  optimizer: {name: sgd, lr: 0.05}
seeds: [0]
losses: [softmax]
evaluate: [error, balanced_error, class_separation]
"""
COUNTS = (40, 31, 22, 30)
NAMES = ["cat", "dog", "ox", "bee"]


def write_data(root: Path, name: str, labels: np.ndarray, images: np.ndarray) -> None:
    random = np.random.default_rng(1)
    arrays = {
        "train_images": images,
        "train_labels": labels,
        "test_images": random.integers(0, 256, (24, 4, 4, 1), dtype=np.uint8),
        "test_labels": np.arange(24) % 4,
    }
    save_prepared(root / name, arrays, make_card(name, NAMES, "random", "", arrays))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat(np.arange(4), COUNTS))
    images = random.integers(0, 256, (len(labels), 4, 4, 1), dtype=np.uint8)
    images[:, 0, :, 0] = labels[:, None] * 60  # so that something can be learned
    write_data(tmp_path / "data", "mine", labels, images)
    return tmp_path / "data"


def plan_of(data: Path, dataset: Mapping[str, Any], *overrides: str) -> Plan:
    (data.parent / "suite.yaml").write_text(SUITE, encoding="utf-8")
    keys = [f"dataset.{key}={value}" for key, value in dataset.items()]
    return check(load_suite(data.parent / "suite.yaml", [*keys, *overrides]), data)


def metrics_of(plan: Plan, data: Path, artifacts: Path) -> list[Any]:
    found = []
    for number, trial in enumerate(plan.trials):
        folder = artifacts / str(number)
        folder.mkdir(parents=True)
        result = run_trial(trial, data_root=data, artifacts=folder)
        assert not result.failures
        history = [record.metrics | {"train_time_sec": 0} for record in result.history]
        found.append((result.metrics, result.weights_digest, history))
    return found


Labels = list[int]
Made = tuple[Labels, Labels]
"""Indices of the images that are kept, and their labels."""


def _symmetric(labels: Labels) -> Made:
    return [*range(len(labels))], slow_symmetric(labels, 4, 0.4, seed=0)


def _asymmetric(labels: Labels) -> Made:
    return [*range(len(labels))], slow_asymmetric(labels, {0: 1, 1: 0}, 0.3)


def _long_tail_then_symmetric(labels: Labels) -> Made:
    kept = slow_subset(labels, slow_sizes([*COUNTS], "long_tail", 5))
    return kept, slow_symmetric([labels[i] for i in kept], 4, 0.3, seed=2)


def _per_class_then_step(labels: Labels) -> Made:
    first = slow_subset(labels, [20] * 4)
    second = slow_subset([labels[i] for i in first], [20, 20, 10, 10], seed=1)
    kept = [first[i] for i in second]
    return kept, [labels[i] for i in kept]


CONDITIONS: list[tuple[dict[str, Any], Callable[[Labels], Made]]] = [
    ({"label_noise": "{symmetric: 0.4}"}, _symmetric),
    (
        {"label_noise": "{asymmetric: {rate: 0.3, map: {cat: dog, dog: cat}, unmapped: keep}}"},
        _asymmetric,
    ),
    (
        {"imbalance": "{long_tail: 5}", "label_noise": "{symmetric: 0.3, seed: 2}"},
        _long_tail_then_symmetric,
    ),
    ({"per_class": 20, "imbalance": "{step: 2, seed: 1}"}, _per_class_then_step),
]
FURTHER = {
    "all": [],
    "train_size": ["dataset.train_size=40"],
    "selection": ["selection={holdout: 0.25}"],
}


@pytest.mark.parametrize(("conditions", "by_hand"), CONDITIONS, ids=str)
@pytest.mark.parametrize("further", FURTHER)
def test_a_data_set_made_by_hand_gives_the_same_trainings(
    data: Path,
    tmp_path: Path,
    conditions: dict[str, Any],
    by_hand: Callable[[Labels], Made],
    further: str,
) -> None:
    if "per_class" in conditions and further == "train_size":
        pytest.skip("refused together")
    train = load_dataset("mine", data).splits["train"]
    kept, labels = by_hand(train.labels.tolist())
    images = train.images[kept]  # type: ignore[attr-defined]
    write_data(data, "by_hand", np.array(labels), images)
    plan = plan_of(data, conditions, *FURTHER[further])
    other = plan_of(data, {"name": "by_hand"}, *FURTHER[further])
    own = metrics_of(plan, data, tmp_path / "own")
    assert own == metrics_of(other, data, tmp_path / "by_hand")
    assert own != metrics_of(plan_of(data, {}, *FURTHER[further]), data, tmp_path / "plain")
    assert plan.facts.class_counts == other.facts.class_counts
