"""Poly-1 against its definition, in loops."""

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss


def make(**params):
    torch.manual_seed(0)
    return create_loss("poly1", num_classes=4, feature_dim=3, **params).double()


@pytest.mark.parametrize("epsilon", [-1.0, -0.5, 0.0, 2.0, 7.0])
def test_value_and_gradients(assert_same_as, epsilon):
    head = make(epsilon=epsilon)

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels.tolist(), strict=True):
            scores = [w @ x + b for w, b in zip(head.linear.weight, head.linear.bias, strict=True)]
            p = scores[z].exp() / sum(s.exp() for s in scores)
            total = total - torch.log(p) + epsilon * (1 - p)
        return total / len(labels)

    assert_same_as(head, 2 * torch.randn(7, 3).double(), torch.randint(4, (7,)), reference)


@pytest.mark.parametrize("epsilon", [-1.0, 2.0])
def test_gradcheck(epsilon):
    head = make(epsilon=epsilon)
    features, labels = torch.randn(6, 3).double().requires_grad_(), torch.randint(4, (6,))
    assert torch.autograd.gradcheck(lambda x: head(x, labels), features)


@pytest.mark.parametrize("epsilon", [-1.0, 0.0, 2.0])
def test_only_the_first_coefficient_of_the_series_changes(epsilon):
    """L = sum_j a_j (1 - p)^j with a_1 = 1 + epsilon and a_j = 1 / j."""
    head = make(epsilon=epsilon)
    features, labels = 0.3 * torch.randn(1, 3).double(), torch.tensor([2])
    wrong = 1 - head.logits(features).softmax(1)[0, 2]
    series = sum(wrong**j / j for j in range(1, 400)) + epsilon * wrong
    torch.testing.assert_close(head(features, labels), series)


def test_epsilon_0_is_softmax():
    head = make(epsilon=0.0)
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    torch.testing.assert_close(
        head(features, labels), F.cross_entropy(head.logits(features), labels)
    )


def test_default_is_that_of_the_paper_for_imagenet():
    assert create_loss("poly1", num_classes=4, feature_dim=3).epsilon == 2.0
