from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from lossbench.data.images import ArrayImages
from lossbench.errors import NotFiniteError
from lossbench.evaluation.base import Trained
from lossbench.evaluation.knn import NearestNeighbours, majority
from lossbench.evaluation.neighbours import Distance
from tests.evaluation.trained_model import CLASSES, make_head, make_images, make_trained


def with_gallery(count: int = 200) -> Trained:
    """60 measured images, and others to train on."""
    pixels, labels = make_images(count + 60)
    images = ArrayImages(pixels[60:].permute(0, 2, 3, 1), labels[60:])
    return replace(make_trained(make_head("softmax")), train=images)


@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_agrees_with_loops_and_with_scikit_learn_where_votes_are_not_tied(
    k: int, distance: Distance
) -> None:
    trained = with_gallery()
    queries, gallery = trained.features.double(), trained.train_features.double()
    labels = trained.train.labels.tolist()
    voted, tied = [], []
    for query in queries:
        if distance == "cosine":
            far = [1 - float(query @ g / query.norm() / g.norm()) for g in gallery]
        else:
            far = [float((query - g).norm()) for g in gallery]
        near = sorted(range(len(far)), key=lambda i: far[i])[:k]
        votes = Counter(labels[i] for i in near)
        most = max(votes.values())
        winners = [label for label, count in votes.items() if count == most]
        voted.append(next(labels[i] for i in near if labels[i] in winners))
        tied.append(len(winners) > 1)
    wrong = sum(a != b for a, b in zip(voted, trained.measured_images.labels.tolist(), strict=True))
    [(name, error)] = NearestNeighbours(k=k, distance=distance)(trained).values.items()
    assert error == pytest.approx(100 * wrong / 60)
    assert 0 < wrong < 60
    assert name == f"knn_{k}{'_euclidean' if distance == 'euclidean' else ''}_error"
    reference = KNeighborsClassifier(k, metric=distance, algorithm="brute")
    theirs = reference.fit(gallery.numpy(), labels).predict(queries.numpy()).tolist()
    clear = [i for i in range(60) if not tied[i]]
    assert len(clear) > 20
    assert [voted[i] for i in clear] == [theirs[i] for i in clear]


def test_all_training_images_vote_if_there_are_fewer_than_k() -> None:
    trained = with_gallery(count=30)
    most = int(torch.bincount(trained.train.labels, minlength=CLASSES).argmax())
    counts = torch.bincount(trained.train.labels).sort(descending=True).values
    assert counts[0] > counts[1]
    wrong = int((trained.measured_images.labels != most).sum())
    assert NearestNeighbours(k=31)(trained).values == {"knn_31_error": pytest.approx(wrong / 0.6)}


def test_ties_are_won_by_the_nearest_image() -> None:
    votes = torch.tensor([[2, 0, 0, 2], [1, 3, 0, 2], [1, 0, 3, 3], [0, 1, 1, 0]])
    assert majority(votes, 4).tolist() == [2, 1, 3, 0]


@pytest.mark.parametrize("name", ["features", "train_features"])
def test_features_that_are_not_finite_are_refused(name: str) -> None:
    trained = with_gallery()
    broken: Tensor = getattr(trained, name).clone()
    broken[3, 1] = torch.nan
    trained.__dict__[name] = broken
    with pytest.raises(NotFiniteError):
        NearestNeighbours()(trained)
