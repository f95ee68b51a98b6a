from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import davies_bouldin_score
from torch import Tensor

from lossbench.data.images import View
from lossbench.data.loading import load_dataset
from lossbench.errors import NotFiniteError
from lossbench.evaluation.class_separation import (
    ClassSeparation,
    class_separation,
    distance_ratio,
    group_by_class,
)
from tests.evaluation.trained_model import make_head, make_trained

COUNTS = (7, 1, 4)


def make_features(spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Features of the classes 0, 2 and 5, in a random order."""
    torch.manual_seed(0)
    labels = torch.tensor([0, 2, 5]).repeat_interleave(torch.tensor(COUNTS))
    labels = labels[torch.randperm(len(labels))]
    return 3 * torch.randn(6, 4)[labels] + spread * torch.randn(len(labels), 4), labels


def slow_r2(features: Tensor, labels: Tensor) -> float:
    """The sums over all pairs of images in the paper."""
    rows = features.double().tolist()
    classes = sorted(set(labels.tolist()))
    own = {
        k: [r for r, label in zip(rows, labels.tolist(), strict=True) if label == k]
        for k in classes
    }

    def distance(a: list[float], b: list[float]) -> float:
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return 1 - dot / math.hypot(*a) / math.hypot(*b)

    within = total = 0.0
    for k in classes:
        pairs = itertools.product(own[k], own[k])
        within += sum(distance(a, b) for a, b in pairs) / (len(classes) * len(own[k]) ** 2)
    for j, k in itertools.product(classes, classes):
        pairs = itertools.product(own[j], own[k])
        scale = len(classes) ** 2 * len(own[j]) * len(own[k])
        total += sum(distance(a, b) for a, b in pairs) / scale
    return 1 - within / total


@pytest.mark.parametrize("spread", [0.01, 1.0, 5.0])
def test_class_separation_agrees_with_loops_over_all_pairs(spread: float) -> None:
    features, labels = make_features(spread)
    found = class_separation(group_by_class(features, labels))
    assert found == pytest.approx(slow_r2(features, labels), abs=1e-12)
    assert 0 < found < 1


def test_class_separation_of_one_direction_per_class_is_one() -> None:
    labels = torch.arange(12) % 3
    features = torch.eye(3)[labels] * torch.arange(1, 13)[:, None]
    assert class_separation(group_by_class(features, labels)) == pytest.approx(1)


def test_class_separation_of_one_direction_is_zero() -> None:
    features = torch.tensor([[1.0], [2.0], [5.0], [4.0]])
    assert class_separation(group_by_class(features, torch.tensor([0, 0, 1, 1]))) == 0


def test_distance_ratio_agrees_with_loops() -> None:
    features, labels = make_features()
    array, classes = features.double().numpy(), sorted(set(labels.tolist()))
    own = [array[labels.numpy() == k] for k in classes]
    assert [len(part) for part in own] == list(COUNTS)
    means = [sum(part) / len(part) for part in own]
    spreads = [
        sum(math.dist(row, mean) for row in part) / len(part)
        for part, mean in zip(own, means, strict=True)
    ]
    pairs = [math.dist(a, b) for a, b in itertools.combinations(means, 2)]
    expected = (sum(spreads) / 3) / (sum(pairs) / 3)
    found = distance_ratio(group_by_class(features.double(), labels))
    assert found == pytest.approx(expected)


def test_distance_ratio_of_two_classes_is_half_the_davies_bouldin_index() -> None:
    features, labels = make_features()
    features, labels = features[labels != 2], labels[labels != 2]
    found = distance_ratio(group_by_class(features.double(), labels))
    assert found == pytest.approx(davies_bouldin_score(features.double(), labels) / 2)


def test_equal_class_means_have_no_distance_ratio() -> None:
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    with pytest.raises(NotFiniteError, match="means of the features of all classes were equal"):
        distance_ratio(group_by_class(features, torch.tensor([0, 0, 1, 1])))


def test_all_three_are_measured_on_the_features() -> None:
    trained = make_trained(make_head("softmax"))
    evaluation = ClassSeparation()
    values = evaluation(trained).values
    assert list(values) == [metric.name for metric in evaluation.metrics()]
    norms = np.linalg.norm(trained.features.double().numpy(), axis=1)
    assert values["feature_norm"] == pytest.approx(norms.mean())
    expected = slow_r2(trained.features, trained.measured_images.labels)
    assert values["class_separation"] == pytest.approx(expected, abs=1e-12)
    trained.__dict__["features"] = trained.features.clone().fill_(torch.inf)
    with pytest.raises(NotFiniteError):
        evaluation(trained)


def test_test_images_of_one_class_are_refused_before_the_training(
    make_folder: Callable[..., Path],
) -> None:
    root = make_folder("mine").parent
    dataset, evaluation = load_dataset("mine", root), ClassSeparation()
    assert evaluation.check(dataset, View(), root) == {}
    test = dataset.splits["test"]
    one = test.subset(np.flatnonzero(test.labels == 1))
    with pytest.raises(ValueError, match="requires test images of at least two classes"):
        evaluation.check(replace(dataset, splits={**dataset.splits, "test": one}), View(), root)
