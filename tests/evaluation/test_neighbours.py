from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from lossbench.errors import NotFiniteError
from lossbench.evaluation import neighbours
from lossbench.evaluation.neighbours import Distance, nearest, require_finite, unit_vectors


def features(count: int, seed: int, dimension: int = 5) -> Tensor:
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("block", [1, 64, 10**6])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_agrees_with_scikit_learn(
    distance: Distance, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_SIZE", block)
    queries, gallery = features(23, 0), features(31, 1)
    found = torch.cat(list(nearest(queries, gallery, 7, distance)))
    reference = NearestNeighbors(n_neighbors=7, metric=distance, algorithm="brute")
    expected = reference.fit(gallery.double().numpy()).kneighbors(queries.double().numpy())[1]
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("block", [1, 70, 10**6])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_a_query_is_not_its_own_neighbour(
    distance: Distance, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_SIZE", block)
    own = features(12, 0).repeat(2, 1)  # each twice: the twin is the nearest one
    found = torch.cat(list(nearest(own, own, 23, distance, leave_out_self=True)))
    assert found[:, 0].tolist() == [(i + 12) % 24 for i in range(24)]
    assert [sorted(row) for row in found.tolist()] == [
        [j for j in range(24) if j != i] for i in range(24)
    ]


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_first_of_equally_distant_features_is_the_nearest(distance: Distance) -> None:
    gallery = features(6, 0, 64)[torch.arange(300) % 6]
    [found] = nearest(gallery[:6], gallery, 100, distance)
    for i, row in enumerate(found.tolist()):
        assert row[:50] == list(range(i, 300, 6))
        for at in (0, 50):  # the nearest and the next feature, fifty times each
            assert row[at : at + 50] == sorted(row[at : at + 50])


def test_features_far_from_zero_keep_their_order() -> None:
    gallery = torch.tensor([[0.0], [3.0], [2.0], [1.0]], dtype=torch.float64) + 1e8
    [found] = nearest(gallery[:1], gallery, 4, "euclidean")
    assert found.tolist() == [[0, 3, 2, 1]]


def test_cosine_distance_of_zero_vectors_is_one() -> None:
    gallery = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.1]])
    [found] = nearest(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), gallery, 3, "cosine")
    assert found.tolist() == [[2, 1, 0], [0, 1, 2]]


def test_unit_vectors_of_tiny_and_huge_features() -> None:
    lengths = np.array([1e-38, 1.0, 3e38])
    found = unit_vectors(torch.tensor(lengths[:, None] * [0.6, 0.8], dtype=torch.float32))
    np.testing.assert_allclose(found.numpy(), np.tile([0.6, 0.8], (3, 1)), rtol=1e-6)
    assert unit_vectors(torch.zeros(1, 2)).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    require_finite(torch.zeros(2, 2), "the training set")
    with pytest.raises(NotFiniteError, match="a feature of the training set is not a finite"):
        require_finite(torch.tensor([[0.0, value]]), "the training set")
