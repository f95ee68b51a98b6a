"""Triplet loss against loops over triplets, for every way of mining."""

import pytest
import torch

from lossbench import create_loss
from lossbench.losses.functional import unit_vectors
from lossbench.losses.triplet import MINING, triplet


def make(**params):
    params = {"weight": 0.6, "softmax_weight": 0.0, **params}
    return create_loss("triplet", num_classes=4, feature_dim=3, **params).double()


def loop_triplet(features, labels, margin, mining, normalize, count=None):
    if normalize:
        features = [x / (x @ x) ** 0.5 for x in features]
    n, losses = len(labels), []

    def d(i, j):
        return sum((a - b) ** 2 for a, b in zip(features[i], features[j], strict=True))

    def hinge(a, p, n):
        value = d(a, p) - d(a, n) + margin
        return value if value > 0 else 0 * value

    for a in range(n):
        positives = [p for p in range(n) if p != a and labels[p] == labels[a]]
        negatives = [j for j in range(n) if labels[j] != labels[a]]
        if not positives or not negatives:
            continue
        if mining == "batch_hard":
            hardest = max(positives, key=lambda p: d(a, p).item())
            losses.append(hinge(a, hardest, min(negatives, key=lambda j: d(a, j).item())))
            continue
        for p in positives:
            if mining == "all":
                losses += [hinge(a, p, j) for j in negatives]
                continue
            farther = [j for j in negatives if d(a, j) > d(a, p)]
            if farther:
                chosen = min(farther, key=lambda j: d(a, j).item())
            else:
                chosen = max(negatives, key=lambda j: d(a, j).item())
            losses.append(hinge(a, p, chosen))
            if count is not None:
                count[bool(farther)] += 1
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("mining", MINING)
def test_value_and_gradients(assert_same_as, mining, normalize):
    torch.manual_seed(0)
    head = make(mining=mining, normalize=normalize, margin=0.3)
    features, labels = torch.randn(10, 3).double(), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3])
    count = [0, 0]

    def reference(x, z):
        return 0.6 * loop_triplet(x, z.tolist(), 0.3, mining, normalize, count)

    assert_same_as(head, features, labels, reference)
    if mining == "semi_hard":
        assert min(count) > 0  # with a semi-hard negative, and without


def test_mining_strategies_differ():
    torch.manual_seed(0)
    features, labels = torch.randn(10, 3), torch.arange(10) % 3
    values = {float(triplet(features, labels, 0.3, mining)) for mining in MINING}
    assert len(values) == len(MINING)


@pytest.mark.parametrize("mining", MINING)
def test_gradcheck(mining):
    torch.manual_seed(1)
    head, labels = make(softmax_weight=1.0, mining=mining), torch.tensor([0, 1, 1, 3, 0])
    features = torch.randn(5, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: head(x, labels), features)


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 1, 2], [2]])
def test_loss_and_gradient_of_a_batch_without_triplets_are_0(labels, mining):
    features = torch.randn(len(labels), 3, requires_grad=True)
    value = triplet(unit_vectors(features), torch.tensor(labels), 0.2, mining)
    assert value.item() == 0
    value.backward()
    assert torch.equal(features.grad, torch.zeros_like(features))


@pytest.mark.parametrize("at", [0.0, 1.0])
@pytest.mark.parametrize("mining", MINING)
def test_coincident_features_have_a_finite_gradient(mining, at):
    features = torch.full((4, 3), at, requires_grad=True)
    value = triplet(unit_vectors(features), torch.tensor([0, 0, 1, 1]), 0.2, mining)
    assert value.item() == pytest.approx(0.2)
    value.backward()
    assert torch.equal(features.grad, torch.zeros(4, 3))


def test_unit_vectors():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-12, 0.0]], requires_grad=True)
    expected = torch.tensor([[0.6, 0.8], [0.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(unit_vectors(x), expected)
    unit_vectors(x)[1].sum().backward()
    assert torch.equal(x.grad, torch.zeros(3, 2))
