from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from lossbench.evaluation.balanced_error import BalancedError
from lossbench.evaluation.base import Measurement
from tests.evaluation.trained_model import make_head, make_trained, with_scores


def measured(scores: Tensor, labels: Tensor, class_names: tuple[str, ...] = ()) -> Measurement:
    return BalancedError()(with_scores(scores, labels, class_names))


def test_agrees_with_scikit_learn_and_a_loop() -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 6, (300,)) ** 2 // 6  # 0, 1, 2, 4; unequal numbers of images
    scores = torch.randn(300, 5) + 2 * torch.nn.functional.one_hot(labels, 5)
    scores[:, 3] = -10.0  # scikit-learn warns of predicted classes without images
    found = measured(scores, labels)
    right = balanced_accuracy_score(labels.numpy(), scores.argmax(1).numpy())
    assert found.values["balanced_error"] == pytest.approx(100 - 100 * right)
    errors = {}
    for k in range(5):
        own = [i for i, label in enumerate(labels.tolist()) if label == k]
        if own:
            errors[k] = 100 * sum(scores[i].argmax().item() != k for i in own) / len(own)
    assert list(errors) == [0, 1, 2, 4]
    assert len(set(errors.values())) == 4
    assert found.values["worst_class_error"] == pytest.approx(max(errors.values()))
    stored = found.arrays["per_class_error"]
    assert stored["labels"].tolist() == list(errors)
    assert stored["value"].tolist() == pytest.approx(list(errors.values()))
    assert stored["count"].tolist() == torch.bincount(labels)[list(errors)].tolist()
    assert "class_names" not in stored


def test_names_are_those_of_the_measured_classes() -> None:
    stored = measured(torch.eye(3), torch.tensor([2, 0, 2]), ("a", "b", "ψ"))
    assert stored.arrays["per_class_error"]["class_names"].tolist() == ["a", "ψ"]
    assert stored.arrays["per_class_error"]["value"].tolist() == [100.0, 50.0]


def test_image_with_a_nan_score_is_an_error() -> None:
    scores = torch.eye(4)
    scores[1, 1] = scores[2, 0] = torch.nan
    found = measured(scores, torch.arange(4))
    assert found.values == {"balanced_error": 50.0, "worst_class_error": 100.0}


def test_stores_the_arrays_that_it_declares() -> None:
    evaluation = BalancedError()
    found = evaluation(make_trained(make_head("lgm")))
    assert set(found.values) == {metric.name for metric in evaluation.metrics()}
    assert set(found.arrays) == {artifact.name for artifact in evaluation.artifacts()}
    assert np.isfinite(found.arrays["per_class_error"]["value"]).all()
