"""Squared error against its definition, in loops."""

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss
from lossbench.losses.squared_error import squared_error


def make(**params):
    torch.manual_seed(0)
    return create_loss("squared_error", num_classes=4, feature_dim=3, **params).double()


@pytest.mark.parametrize(
    ("kappa", "target", "scale"), [(1.0, 1.0, 1.0), (9.0, 60.0, 10.0), (15.0, 30.0, 1.0)]
)
def test_value_and_gradients(assert_same_as, kappa, target, scale):
    head = make(kappa=kappa, target=target, scale=scale)

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels.tolist(), strict=True):
            for k, (w, b) in enumerate(zip(head.linear.weight, head.linear.bias, strict=True)):
                f = w @ x + b
                total = total + (kappa * (f - target) ** 2 if k == z else f**2)
        return scale * total / (4 * len(labels))

    assert_same_as(head, torch.randn(7, 3).double(), torch.randint(4, (7,)), reference)


def test_gradcheck():
    torch.manual_seed(1)
    scores, labels = torch.randn(6, 4).double().requires_grad_(), torch.randint(4, (6,))
    assert torch.autograd.gradcheck(lambda s: squared_error(s, labels, 3.0, 2.0), (scores,))


def test_default_is_the_mean_squared_error_of_one_hot_labels():
    head = make()
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    expected = F.mse_loss(head.logits(features), F.one_hot(labels, 4).double())
    torch.testing.assert_close(head(features, labels), expected, rtol=1e-12, atol=0)


def test_best_scores_are_those_of_the_docstring():
    """For a class of probability p, p kappa (f - M)^2 + (1 - p) f^2 is smallest there."""
    kappa, target, labels = 9.0, 5.0, torch.tensor([0, 1, 1, 1])  # p = 1/4 and 3/4
    best = [kappa * p * target / (kappa * p + 1 - p) for p in (0.25, 0.75)]
    scores = torch.tensor(best, dtype=torch.float64, requires_grad=True)
    loss = squared_error(scores.expand(4, 2), labels, kappa, target)
    [gradient] = torch.autograd.grad(loss, scores)
    torch.testing.assert_close(gradient, torch.zeros(2).double(), rtol=0, atol=1e-12)
