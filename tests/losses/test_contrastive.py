"""Contrastive loss against loops over pairs."""

import pytest
import torch

from lossbench import create_loss
from lossbench.losses.contrastive import contrastive


def make(**params):
    params = {"weight": 0.6, "margin": 1.5, "softmax_weight": 0.0, **params}
    return create_loss("contrastive", num_classes=4, feature_dim=3, **params).double()


def loop_contrastive(features, labels, margin):
    pull, push = [], []
    for i in range(len(labels)):
        for j in range(i + 1, len(labels)):
            d = sum((a - b) ** 2 for a, b in zip(features[i], features[j], strict=True)) ** 0.5
            if labels[i] == labels[j]:
                pull.append(d**2 / 2)
            elif d < margin:
                push.append((margin - d) ** 2 / 2)
            else:
                push.append(0 * d)
    return (sum(pull) / len(pull) if pull else 0) + (sum(push) / len(push) if push else 0)


def test_value_and_gradients(assert_same_as):
    torch.manual_seed(0)
    features, labels = torch.randn(11, 3).double(), torch.randint(4, (11,))
    beyond = torch.pdist(features) > 1.5
    assert beyond.any()
    assert not beyond.all()
    assert_same_as(make(), features, labels, lambda x, z: 0.6 * loop_contrastive(x, z, 1.5))


def test_gradcheck():
    torch.manual_seed(1)
    head, labels = make(softmax_weight=1.0), torch.tensor([0, 1, 1, 3, 0])
    features = torch.randn(5, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: head(x, labels), features)


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 1, 2], [2]])
def test_mean_over_no_pairs_is_0(labels):
    features = torch.randn(len(labels), 3).double().requires_grad_()
    labels = torch.tensor(labels)
    value = contrastive(features, labels, 1.5)
    expected = torch.as_tensor(loop_contrastive(features, labels, 1.5)).double()
    torch.testing.assert_close(value, expected)
    value.backward()
    assert torch.isfinite(features.grad).all()


def test_coincident_features_have_a_finite_gradient():
    features = torch.ones(4, 3, requires_grad=True)
    value = contrastive(features, torch.tensor([0, 0, 1, 1]), 1.5)
    assert value.item() == pytest.approx(1.5**2 / 2)
    value.backward()
    assert torch.equal(features.grad, torch.zeros(4, 3))
