"""NCE+RCE against its definition, in loops."""

import math

import pytest
import torch

from lossbench import create_loss
from lossbench.losses.functional import true_class_log_odds
from lossbench.losses.nce_rce import normalised_cross_entropy


def make(**params):
    torch.manual_seed(0)
    return create_loss("nce_rce", num_classes=4, feature_dim=3, **params).double()


@pytest.mark.parametrize(
    "params", [{}, {"alpha": 10.0, "beta": 0.1}, {"alpha": 0.0, "log_zero": -9.2}, {"beta": 0.0}]
)
def test_value_and_gradients(assert_same_as, params):
    head = make(**params)
    alpha, beta = params.get("alpha", 1.0), params.get("beta", 1.0)
    log_zero = params.get("log_zero", -4.0)

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels.tolist(), strict=True):
            scores = [w @ x + b for w, b in zip(head.linear.weight, head.linear.bias, strict=True)]
            whole = sum(s.exp() for s in scores)
            posterior = [s.exp() / whole for s in scores]
            cross_entropies = [-torch.log(p) for p in posterior]  # of each label
            nce = cross_entropies[z] / sum(cross_entropies)
            rce = -sum(p * (0.0 if k == z else log_zero) for k, p in enumerate(posterior))
            total = total + alpha * nce + beta * rce
        return total / len(labels)

    assert_same_as(head, 2 * torch.randn(7, 3).double(), torch.randint(4, (7,)), reference)


def test_gradcheck():
    head = make()
    features, labels = torch.randn(6, 3).double().requires_grad_(), torch.randint(4, (6,))
    assert torch.autograd.gradcheck(lambda x: head(x, labels), features)


def nce(scores, labels):
    return normalised_cross_entropy(scores, true_class_log_odds(scores, labels))


def test_normalised_cross_entropy_summed_over_all_labels_is_1():
    """The condition for robustness to symmetric noise."""
    scores = 3 * torch.randn(1, 5).double()
    torch.testing.assert_close(
        sum(nce(scores, torch.tensor([k])) for k in range(5)), torch.tensor(1.0).double()
    )


def test_a_posterior_of_1_over_k_has_a_normalised_cross_entropy_of_1_over_k():
    assert float(nce(torch.zeros(3, 8), torch.tensor([0, 3, 7]))) == pytest.approx(1 / 8)


@pytest.mark.parametrize("score", [-1e30, -1e4, -30.0, 30.0, 1e4, 1e30])
def test_extreme_scores_have_finite_and_exact_values(score):
    scores = torch.tensor([[score, 0.0, 0.0]], requires_grad=True)
    label = torch.zeros(1, dtype=torch.long)
    value = nce(scores, label)
    [gradient] = torch.autograd.grad(value, scores)
    exact = scores.detach().double().requires_grad_()
    expected = nce(exact, label)
    [exact_gradient] = torch.autograd.grad(expected, exact)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-12)
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=1e-3, atol=1e-12)
    if score == -30.0:  # by hand
        own, other = 30 + math.log(2), math.log(2)
        assert float(value.detach()) == pytest.approx(own / (own + 2 * other), rel=1e-5)


def test_log_zero_of_minus_2_is_the_mean_absolute_error():
    head = make(alpha=0.0, log_zero=-2.0)
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    one_hot = torch.nn.functional.one_hot(labels, 4)
    expected = (one_hot - head.logits(features).softmax(1)).abs().sum(1).mean()
    torch.testing.assert_close(head(features, labels), expected)
