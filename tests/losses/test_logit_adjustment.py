"""Logit adjustment against its definition, in loops."""

import math

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss
from lossbench.losses import TrainingFacts

COUNTS = [300, 40, 5, 1]


def make(name="logit_adjustment", **params):
    torch.manual_seed(0)
    head = create_loss(name, num_classes=4, feature_dim=3, **params).double()
    head.prepare(TrainingFacts(torch.tensor(COUNTS), epochs=1))
    return head


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_value_and_gradients(assert_same_as, tau):
    """In the first form of Eq. 10: log(1 + sum over the others of ratios)."""
    head = make(tau=tau)

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels.tolist(), strict=True):
            scores = [w @ x + b for w, b in zip(head.linear.weight, head.linear.bias, strict=True)]
            ratios = [
                math.pow(COUNTS[k] / COUNTS[z], tau) * (scores[k] - scores[z]).exp()
                for k in range(4)
                if k != z
            ]
            total = total + torch.log(1 + sum(ratios))
        return total / len(labels)

    assert_same_as(head, torch.randn(7, 3).double(), torch.randint(4, (7,)), reference)


def test_gradcheck():
    head = make(tau=1.5)
    features, labels = torch.randn(5, 3).double().requires_grad_(), torch.randint(4, (5,))

    def loss(features, weight, bias):
        params = {"linear.weight": weight, "linear.bias": bias}
        return torch.func.functional_call(head, params, (features, labels))

    assert torch.autograd.gradcheck(loss, (features, head.linear.weight, head.linear.bias))


def test_tau_1_is_balanced_softmax():
    head, balanced = make(), make("balanced_softmax")
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    assert torch.equal(head(features, labels), balanced(features, labels))
    assert torch.equal(head.logits(features), balanced.logits(features))


def test_tau_0_is_softmax():
    head = make(tau=0.0)
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    assert torch.equal(head(features, labels), F.cross_entropy(head.logits(features), labels))


def test_predictions_are_without_the_prior():
    head, features = make(tau=3.0), torch.randn(6, 3).double()
    assert torch.equal(head.logits(features), head.linear(features))
