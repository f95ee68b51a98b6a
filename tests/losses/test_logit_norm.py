"""Logit normalisation against its definition, in loops."""

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss


def make(**params):
    torch.manual_seed(0)
    return create_loss("logit_norm", num_classes=4, feature_dim=3, **params).double()


@pytest.mark.parametrize("tau", [0.04, 0.5, 3.0])
def test_value_and_gradients(assert_same_as, tau):
    head = make(tau=tau)

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels.tolist(), strict=True):
            scores = [w @ x + b for w, b in zip(head.linear.weight, head.linear.bias, strict=True)]
            norm = torch.sqrt(sum(s**2 for s in scores))
            scores = [s / (tau * norm) for s in scores]
            total = total - torch.log(scores[z].exp() / sum(s.exp() for s in scores))
        return total / len(labels)

    assert_same_as(head, torch.randn(7, 3).double(), torch.randint(4, (7,)), reference)


def test_gradcheck():
    head = make(tau=0.3)
    torch.manual_seed(1)
    features, labels = torch.randn(5, 3).double().requires_grad_(), torch.randint(4, (5,))
    assert torch.autograd.gradcheck(lambda x: head(x, labels), (features,))


def test_logits_are_those_of_the_loss_and_have_norm_1_over_tau():
    head = make()
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    scores = head.logits(features)
    torch.testing.assert_close(scores.norm(dim=1), torch.full((6,), 25.0).double())
    torch.testing.assert_close(head(features, labels), F.cross_entropy(scores, labels))


def test_training_loss_is_logitnorm_of_wei_et_al_whose_test_scores_are_others():
    head = make(tau=0.1)
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    scores = head.linear(features)
    divided = scores / (scores.norm(dim=1, keepdim=True) + 1e-7) / 0.1
    torch.testing.assert_close(
        head(features, labels), F.cross_entropy(divided, labels), rtol=1e-5, atol=0
    )
    assert torch.equal(head.logits(features).argmax(1), scores.argmax(1))
    assert (head.logits(features).softmax(1) - scores.softmax(1)).abs().max() > 0.1


def test_scores_of_zero_give_the_loss_of_a_uniform_posterior_without_a_gradient():
    head = make()
    with torch.no_grad():
        head.linear.bias.zero_()
    features = torch.zeros(3, 3).double().requires_grad_()
    loss = head(features, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(loss, torch.tensor(4.0).double().log())
    assert not torch.autograd.grad(loss, features)[0].any()
