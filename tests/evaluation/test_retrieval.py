from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from lossbench.assembly.build import build
from lossbench.assembly.check import check
from lossbench.data.images import View
from lossbench.data.loading import load_dataset
from lossbench.data.suite_data import open_trial_data
from lossbench.errors import NotFiniteError
from lossbench.evaluation import neighbours
from lossbench.evaluation.neighbours import Distance
from lossbench.evaluation.retrieval import Retrieval, retrieval_precisions
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from lossbench.suite.origin import SuiteError
from tests.evaluation.trained_model import make_head, make_trained

NAMES = ("precision_at_1", "r_precision", "map_at_r")
DISTANCES: tuple[Distance, ...] = ("cosine", "euclidean")
NOWHERE = Path("/nonexistent/data")


def make_features(lone: int = 2) -> tuple[Tensor, Tensor]:
    """Features of classes of 2 to 40 images, and of classes with a single one."""
    generator = torch.Generator().manual_seed(0)
    counts = [2, 3, 10, 40, 25, *[1] * lone]
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    means = torch.randn(len(counts), 4, generator=generator)
    return means[labels] + torch.randn(len(labels), 4, generator=generator), labels


def slow_precisions(features: Tensor, labels: Tensor, distance: Distance) -> list[list[float]]:
    rows, classes = features.double().numpy(), labels.tolist()
    found = []
    for q, query in enumerate(rows):
        others = [i for i in range(len(rows)) if i != q]
        total = sum(classes[i] == classes[q] for i in others)
        if not total:
            continue
        if distance == "cosine":
            length = np.linalg.norm(query)
            far = {i: 1 - query @ rows[i] / length / np.linalg.norm(rows[i]) for i in others}
        else:
            far = {i: np.linalg.norm(query - rows[i]) for i in others}
        ranked = [classes[i] == classes[q] for i in sorted(others, key=lambda i: far[i])]
        at = [sum(ranked[:i]) / i for i in range(1, total + 1)]
        average = sum(at[i] for i in range(total) if ranked[i]) / total
        found.append([at[0], at[-1], average])
    return found


@pytest.mark.parametrize("block", [1, 500, 10**6])
@pytest.mark.parametrize("distance", DISTANCES)
def test_agrees_with_loops(distance: Distance, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_SIZE", block)
    features, labels = make_features()
    found = retrieval_precisions(features, labels, distance)
    expected = slow_precisions(features, labels, distance)
    assert len(expected) == len(labels) - 2
    np.testing.assert_allclose(found.numpy(), expected)
    assert len({round(mean, 3) for mean in found.mean(0).tolist()}) == 3


@pytest.mark.parametrize("distance", DISTANCES)
def test_agrees_with_pytorch_metric_learning(distance: Distance) -> None:
    features, labels = make_features()

    def search(query: Tensor, k: int, reference: Tensor, same: bool) -> tuple[Tensor, Tensor]:
        index = NearestNeighbors(metric=distance, algorithm="brute").fit(reference.numpy())
        near = index.kneighbors(query.numpy(), k + 1)[1]
        kept = [[j for j in row if j != i][:k] for i, row in enumerate(near.tolist())]
        return torch.zeros(len(query), k), torch.tensor(kept)

    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    calculator = AccuracyCalculator(include=names, knn_func=search, device=torch.device("cpu"))
    theirs = calculator.get_accuracy(features.double(), labels)
    found = retrieval_precisions(features, labels, distance).mean(0).tolist()
    assert found == pytest.approx([theirs[name] for name in names])


def test_separate_classes_are_retrieved_completely() -> None:
    labels = torch.arange(60) % 4
    features = 100 * torch.eye(4)[labels] + torch.rand(60, 4)
    assert retrieval_precisions(features, labels, "cosine").eq(1).all()


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("unseen", [False, True])
def test_measures_what_it_declares(distance: Distance, unseen: bool) -> None:
    evaluation = Retrieval(distance=distance, held_out_classes=unseen)
    trained = make_trained(make_head("softmax"))
    digits = load_dataset("digits", NOWHERE).splits["test"].subset(np.arange(40))
    trained = replace(trained, left_out=digits, model=torch.nn.Flatten())
    values = evaluation(trained).values
    assert list(values) == [metric.name for metric in evaluation.metrics()]
    assert evaluation.reads_other_data == evaluation.needs_left_out == unseen
    images = trained.on_device(digits) if unseen else trained.measured_images
    features = torch.cat([trained.normalise(x).flatten(1) for x in images.unaugmented()])
    expected = slow_precisions(features, images.labels, distance)
    assert list(values.values()) == pytest.approx((100 * np.mean(expected, axis=0)).tolist())


def test_metrics_of_different_parameters_have_different_names() -> None:
    all_of_them = [
        Retrieval(distance=distance, held_out_classes=unseen).metrics()
        for distance in DISTANCES
        for unseen in (False, True)
    ]
    for attribute in ("name", "label"):
        assert len({getattr(m, attribute) for metrics in all_of_them for m in metrics}) == 12
    assert [metric.name for metric in all_of_them[0]] == [f"retrieval_{name}" for name in NAMES]
    assert all_of_them[3][2].name == "retrieval_euclidean_unseen_map_at_r"


def test_features_that_are_not_finite_are_refused() -> None:
    trained = make_trained(make_head("softmax"))
    trained.__dict__["features"] = trained.features.clone().fill_(torch.nan)
    with pytest.raises(NotFiniteError):
        Retrieval()(trained)


def test_classes_of_single_images_have_no_precision() -> None:
    trained = make_trained(make_head("softmax"))
    single = replace(trained.measured_images, labels=torch.arange(60))  # type: ignore[type-var]
    with pytest.raises(NotFiniteError, match="no class has two measured images"):
        Retrieval()(replace(trained, measured=single))


def test_single_test_images_are_refused_before_the_training(
    make_folder: Callable[..., Path],
) -> None:
    root = make_folder("mine").parent
    dataset = load_dataset("mine", root)
    assert Retrieval().check(dataset, View(), root) == {}
    three = dataset.splits["test"].subset(np.arange(3))
    with pytest.raises(ValueError, match="requires at least two test images of a class"):
        Retrieval().check(replace(dataset, splits={**dataset.splits, "test": three}), View(), root)


def test_unseen_classes_are_those_that_the_suite_leaves_out(
    write_suite: Callable[..., Path], tmp_path: Path
) -> None:
    overrides = [
        "dataset.classes=[8, 3, 1]",
        "evaluate=[error, retrieval: {held_out_classes: true}]",
    ]
    plan = check(load_suite(write_suite(), [*overrides, "recipe.epochs=1"]), NOWHERE)
    trial = plan.trials[0]
    parts = build(trial, open_trial_data(trial, NOWHERE), torch.device("cpu"))
    assert parts.left_out is not None
    test = load_dataset("digits", NOWHERE).splits["test"]
    others = np.flatnonzero(np.isin(test.labels, [0, 2, 4, 5, 6, 7, 9]))
    old = np.array([0, 2, 4, 5, 6, 7, 9])[parts.left_out.labels]
    assert np.array_equal(old, test.labels[others])
    images = parts.left_out.to_device(torch.device("cpu"), View())
    expected = test.subset(others).to_device(torch.device("cpu"), View())
    for found, wanted in zip(images.unaugmented(), expected.unaugmented(), strict=True):
        assert torch.equal(found, wanted)
    result = run_trial(trial, data_root=NOWHERE, artifacts=tmp_path)
    assert {f"retrieval_unseen_{name}" for name in NAMES} < result.metrics.keys()
    plain = check(load_suite(write_suite(), overrides[:1]), NOWHERE).trials[0]
    parts = build(plain, open_trial_data(plain, NOWHERE), torch.device("cpu"))
    assert parts.left_out is None


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("null", "held_out_classes measures on classes that are not trained, and the suite"),
        ("[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]", "held_out_classes measures on classes that are not"),
        ("[0, 1, 2, 3, 4, 5, 6, 7, 9]", "held_out_classes requires test images of at least two"),
    ],
)
def test_suites_without_unseen_classes_are_refused(
    write_suite: Callable[..., Path], classes: str, message: str
) -> None:
    overrides = [f"dataset.classes={classes}", "evaluate=[retrieval: {held_out_classes: true}]"]
    with pytest.raises(SuiteError, match=f"retrieval: {message}"):
        check(load_suite(write_suite(), overrides), NOWHERE)
