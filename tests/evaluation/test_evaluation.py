from __future__ import annotations

import numpy as np
import pytest
import torch

from lossbench.evaluation.accuracy import METRICS, is_chance, predictions
from lossbench.evaluation.embedding import MAX_POINTS, embedding
from lossbench.losses import create_loss


def test_error_and_top5_against_numpy() -> None:
    scores, labels = torch.randn(500, 12), torch.randint(0, 12, (500,))
    ranked = np.argsort(-scores.numpy(), axis=1)
    wrong = np.mean(ranked[:, 0] != labels.numpy())
    missed = np.mean(
        [label not in row[:5] for row, label in zip(ranked, labels.tolist(), strict=True)]
    )
    assert METRICS["error"].create()(scores, labels) == pytest.approx(100 * wrong)
    assert METRICS["top5_error"].create()(scores, labels) == pytest.approx(100 * missed)


def test_top5_of_three_classes_is_never_wrong() -> None:
    assert METRICS["top5_error"].create()(torch.randn(9, 3), torch.arange(9) % 3) == 0.0


def test_predictions_hold_the_posterior() -> None:
    head = create_loss("softmax", num_classes=4, feature_dim=3)
    features, labels = torch.randn(20, 3), torch.randint(0, 4, (20,))
    kept = predictions(head, features, labels)
    posterior = head.logits(features).softmax(1).detach().numpy()
    assert np.array_equal(kept["predicted"], posterior.argmax(1))
    np.testing.assert_allclose(kept["posterior"], posterior.max(1), rtol=1e-6)
    assert np.array_equal(kept["labels"], labels.numpy())


@pytest.mark.parametrize(
    ("right", "expected"), [(100, True), (115, True), (130, False), (980, False), (0, True)]
)
def test_chance_of_ten_equal_classes(right: int, expected: bool) -> None:
    labels = torch.arange(1000) % 10
    predicted = torch.where(torch.arange(1000) < right, labels, (labels + 1) % 10)
    assert is_chance(predicted, labels, 10) is expected


def test_one_answer_for_everything_is_a_collapse() -> None:
    labels = torch.tensor([0] * 900 + [1] * 100)
    assert is_chance(torch.zeros(1000, dtype=torch.long), labels, 2)
    assert not is_chance(torch.tensor([0] * 950 + [1] * 50), labels, 2)


def test_a_tiny_test_set_that_is_all_right_is_no_collapse() -> None:
    assert not is_chance(torch.tensor([1]), torch.tensor([1]), 2)
    assert not is_chance(torch.tensor([0, 0, 0]), torch.tensor([0, 0, 0]), 3)
    assert is_chance(torch.tensor([0]), torch.tensor([1]), 2)


def test_embedding_of_a_density_head() -> None:
    head = create_loss("lgm", num_classes=3, feature_dim=2)
    with torch.no_grad():
        head.means.copy_(torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 8.0]]))
    labels = torch.arange(3000) % 3
    features = head.means.detach()[labels] + torch.randn(3000, 2)
    kept = embedding(head, features, labels)
    np.testing.assert_allclose(kept["class_means"], head.means.detach().numpy())
    x, y, density = kept["grid_x"], kept["grid_y"], np.exp(kept["log_density"])
    total = density.sum() * (x[1] - x[0]) * (y[1] - y[0])
    assert total == pytest.approx(1.0, abs=0.05)  # the grid reaches just beyond the points
    row, column = np.unravel_index(density.argmax(), density.shape)
    assert np.abs(kept["class_means"] - [x[column], y[row]]).sum(1).min() < 0.3
    upper = density[y > 6].sum()
    assert upper > density[:, x > 6].sum()  # the third class is up, not right


def test_embedding_of_another_head_has_the_features_means() -> None:
    head = create_loss("softmax", num_classes=2, feature_dim=2)
    labels = torch.arange(2 * MAX_POINTS) % 2
    features = torch.stack([labels * 3.0, -labels.float()], 1)
    kept = embedding(head, features, labels)
    assert kept["class_means"].tolist() == [[0.0, 0.0], [3.0, -1.0]]
    assert kept["features"].shape == (MAX_POINTS, 2)
    assert set(kept) == {"features", "labels", "class_means"}
