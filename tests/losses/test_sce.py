"""Symmetric cross-entropy against its definition, in loops."""

import math

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss
from lossbench.errors import ParameterError
from lossbench.losses.functional import true_class_error, true_class_log_odds
from lossbench.losses.sce import reverse_cross_entropy


def make(**params):
    torch.manual_seed(0)
    return create_loss("sce", num_classes=4, feature_dim=3, **params).double()


@pytest.mark.parametrize(
    "params",
    [{}, {"alpha": 6.0, "beta": 0.1}, {"alpha": 0.0, "log_zero": -9.2}, {"beta": 0.0}],
)
def test_value_and_gradients(assert_same_as, params):
    head = make(**params)
    alpha, beta = params.get("alpha", 0.1), params.get("beta", 1.0)
    log_zero = params.get("log_zero", -4.0)

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels.tolist(), strict=True):
            scores = [w @ x + b for w, b in zip(head.linear.weight, head.linear.bias, strict=True)]
            whole = sum(s.exp() for s in scores)
            for k, score in enumerate(scores):
                p = score.exp() / whole
                q = float(k == z)
                log_q = math.log(q) if q > 0 else log_zero
                total = total - alpha * q * torch.log(p) - beta * p * log_q
        return total / len(labels)

    assert_same_as(head, 2 * torch.randn(7, 3).double(), torch.randint(4, (7,)), reference)


def test_gradcheck():
    head = make()
    features, labels = torch.randn(6, 3).double().requires_grad_(), torch.randint(4, (6,))
    assert torch.autograd.gradcheck(lambda x: head(x, labels), features)


def test_terms_are_weighted_and_only_alpha_1_without_beta_is_softmax():
    head = make(alpha=2.0, beta=3.0)
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    terms = head.terms(features, labels)
    scores = head.logits(features)
    torch.testing.assert_close(terms["cross_entropy"], 2 * F.cross_entropy(scores, labels))
    wrong = 1 - scores.softmax(1).gather(1, labels[:, None]).mean()
    torch.testing.assert_close(terms["reverse_cross_entropy"], 12 * wrong)


def test_clipped_labels_of_the_released_code_are_another_log_zero():
    """Labels clipped to [1e-4, 1], posteriors not clipped."""
    scores, labels = torch.randn(8, 5).double(), torch.randint(5, (8,))
    clipped = F.one_hot(labels, 5).double().clamp(1e-4, 1.0)
    expected = -(scores.softmax(1) * clipped.log()).sum(1).mean()
    log_odds = true_class_log_odds(scores, labels)
    torch.testing.assert_close(reverse_cross_entropy(log_odds, math.log(1e-4)), expected)


def test_reverse_cross_entropy_summed_over_all_labels_is_constant():
    """The condition for robustness to symmetric noise: -A (K - 1) for every posterior."""
    scores = 3 * torch.randn(1, 5).double()
    of_labels = [
        reverse_cross_entropy(true_class_log_odds(scores, torch.tensor([k])), -4.0)
        for k in range(5)
    ]
    torch.testing.assert_close(sum(of_labels), torch.tensor(16.0).double())


@pytest.mark.parametrize("log_odds", [-80.0, -25.0, -10.0, 0.0, 10.0, 25.0, 80.0])
def test_probability_of_the_other_classes_and_its_gradient_are_exact(log_odds):
    value = torch.tensor([log_odds], requires_grad=True)
    error = true_class_error(value)
    [gradient] = torch.autograd.grad(error, value)
    exact = torch.tensor([log_odds]).double()
    torch.testing.assert_close(error.detach().double(), (-exact).sigmoid(), rtol=1e-5, atol=0)
    expected = -exact.sigmoid() * (-exact).sigmoid()
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["sce", "nce_rce"])
def test_two_weights_of_0_are_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="alpha: should not be 0 if beta is 0"):
        create_loss(name, num_classes=3, feature_dim=2, alpha=0, beta=0)
    create_loss(name, num_classes=3, feature_dim=2, alpha=0, beta=1)
