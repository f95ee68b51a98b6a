"""Sigmoid cross-entropy against its definition, in loops."""

import math

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss
from lossbench.losses.sigmoid import binary_cross_entropy


def make(num_classes=4):
    torch.manual_seed(0)
    return create_loss("sigmoid", num_classes=num_classes, feature_dim=3).double()


def test_value_and_gradients(assert_same_as):
    head = make()

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels.tolist(), strict=True):
            for k, (w, b) in enumerate(zip(head.linear.weight, head.linear.bias, strict=True)):
                p = 1 / (1 + torch.exp(-(w @ x + b - math.log(4))))
                total = total - torch.log(p if k == z else 1 - p)
        return total / len(labels)

    assert_same_as(head, torch.randn(7, 3).double(), torch.randint(4, (7,)), reference)


def test_gradcheck():
    torch.manual_seed(1)
    scores, labels = torch.randn(6, 4).double().requires_grad_(), torch.randint(4, (6,))
    assert torch.autograd.gradcheck(lambda s: binary_cross_entropy(s, labels), (scores,))


def test_every_class_starts_with_probability_1_of_k():
    head = make(num_classes=50)
    scores = head.logits(torch.zeros(2, 3).double())
    torch.testing.assert_close(scores.exp(), torch.full((2, 50), 0.02).double())
    expected = math.log(50) + 50 * math.log(1 + 1 / 50)  # near log K + 1
    found = head(torch.zeros(2, 3).double(), torch.tensor([0, 7]))
    assert float(found.detach()) == pytest.approx(expected, rel=1e-12)


def test_softmax_is_the_posterior_if_exactly_one_binary_classifier_is_positive():
    scores = torch.randn(4, generator=torch.Generator().manual_seed(2)).double()
    p = torch.sigmoid(scores).tolist()
    joint = [
        math.prod(q if j == k else 1 - q for j, q in enumerate(p)) for k in range(4)
    ]  # only class k positive
    expected = torch.tensor([value / sum(joint) for value in joint]).double()
    torch.testing.assert_close(scores.softmax(0), expected)


def test_gradient_of_confident_scores_is_exact_in_float32():
    """Where sigma(s) rounds to 1 in float32, sigma(s) - 1 would be a gradient of 0."""
    scores = torch.tensor([[30.0, -30.0], [90.0, 5.0], [-80.0, 80.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 0])
    exact = scores.detach().double().requires_grad_()
    value, expected = binary_cross_entropy(scores, labels), binary_cross_entropy(exact, labels)
    torch.testing.assert_close(value.double(), expected)
    [gradient] = torch.autograd.grad(value, scores)
    [other] = torch.autograd.grad(expected, exact)
    assert (gradient[0] != 0).all()
    torch.testing.assert_close(gradient.double(), other, rtol=1e-5, atol=1e-38)
    targets = F.one_hot(labels, 2).double()
    torch.testing.assert_close(
        expected, 2 * F.binary_cross_entropy_with_logits(exact, targets), rtol=1e-12, atol=0
    )
