"""Generalised cross-entropy against its definition, in loops."""

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss
from lossbench.losses.gce import NEGLIGIBLE_Q, generalised_cross_entropy


def make(**params):
    torch.manual_seed(0)
    return create_loss("gce", num_classes=4, feature_dim=3, **params).double()


@pytest.mark.parametrize("q", [0.01, 0.5, 0.7, 1.0])
def test_value_and_gradients(assert_same_as, q):
    head = make(q=q)

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels.tolist(), strict=True):
            scores = [w @ x + b for w, b in zip(head.linear.weight, head.linear.bias, strict=True)]
            p = scores[z].exp() / sum(s.exp() for s in scores)
            total = total + (1 - p**q) / q
        return total / len(labels)

    assert_same_as(head, 3 * torch.randn(9, 3).double(), torch.randint(4, (9,)), reference)


@pytest.mark.parametrize("q", [0.0, 0.3, 0.7, 1.0])
def test_gradcheck(q):
    torch.manual_seed(1)
    scores, labels = 3 * torch.randn(8, 4).double(), torch.randint(4, (8,))
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: generalised_cross_entropy(s, labels, q), (scores,))


def test_default_is_that_of_the_paper():
    assert create_loss("gce", num_classes=4, feature_dim=3).q == 0.7


@pytest.mark.parametrize("q", [0.0, 1e-300, 1e-31, 1e-29, 1e-12])
def test_cross_entropy_is_the_limit_of_small_exponents(q):
    scores, labels = torch.randn(6, 4), torch.randint(4, (6,))
    value = generalised_cross_entropy(scores, labels, q)
    torch.testing.assert_close(value, F.cross_entropy(scores, labels), rtol=1e-5, atol=0)
    exact = generalised_cross_entropy(scores.double(), labels, q)
    expected = F.cross_entropy(scores.double(), labels)
    torch.testing.assert_close(exact, expected, rtol=max(1e-10, 10 * q), atol=0)


def test_both_sides_of_the_negligible_exponent_agree():
    scores, labels = 10 * torch.randn(50, 4), torch.randint(4, (50,))
    below, above = (
        generalised_cross_entropy(scores, labels, factor * NEGLIGIBLE_Q) for factor in (0.9, 1.1)
    )
    torch.testing.assert_close(below, above, rtol=1e-5, atol=0)


def test_exponent_1_is_half_the_mean_absolute_error():
    scores, labels = torch.randn(6, 4).double(), torch.randint(4, (6,))
    error = (F.one_hot(labels, 4) - scores.softmax(1)).abs().sum(1).mean()
    value = generalised_cross_entropy(scores, labels, 1.0)
    torch.testing.assert_close(value, error / 2, rtol=1e-12, atol=0)


@pytest.mark.parametrize("q", [0.01, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("log_odds", [-40.0, -25.0, -10.0, -1.0, 0.0, 1.0, 10.0, 25.0, 40.0])
def test_value_and_gradient_are_exact_for_tiny_and_for_nearly_certain_posteriors(q, log_odds):
    """One image at a time, so that no other image hides a gradient that is rounded to 0."""
    scores = torch.tensor([[log_odds, 0.0]], requires_grad=True)
    labels = torch.zeros(1, dtype=torch.long)
    value = generalised_cross_entropy(scores, labels, q)
    [gradient] = torch.autograd.grad(value, scores)
    exact = torch.tensor(log_odds).double()
    p, others = exact.sigmoid(), (-exact).sigmoid()
    torch.testing.assert_close(
        value.detach().double(), -torch.expm1(q * F.logsigmoid(exact)) / q, rtol=1e-5, atol=0
    )
    expected = -(p**q) * others  # dL / ds_z
    wanted = torch.stack([expected, -expected])[None]
    torch.testing.assert_close(gradient.double(), wanted, rtol=2e-5, atol=0)


def test_a_mislabelled_image_has_less_weight_than_with_cross_entropy():
    scores = torch.tensor([[6.0, 0.0, 0.0]], requires_grad=True)
    wrong = torch.tensor([1])
    [own] = torch.autograd.grad(generalised_cross_entropy(scores, wrong, 0.7), scores)
    [softmax] = torch.autograd.grad(F.cross_entropy(scores, wrong), scores)
    p = scores.detach().softmax(1)[0, 1]
    torch.testing.assert_close(own, p**0.7 * softmax)
    assert own.abs().max() < 0.02 * softmax.abs().max()
