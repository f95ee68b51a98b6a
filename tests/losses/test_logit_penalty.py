"""Logit penalty against its definition, in loops."""

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss


def make(**params):
    torch.manual_seed(0)
    return create_loss("logit_penalty", num_classes=4, feature_dim=3, **params).double()


@pytest.mark.parametrize("beta", [0.0, 6e-4, 0.5])
def test_value_and_gradients(assert_same_as, beta):
    head = make(beta=beta)

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels.tolist(), strict=True):
            scores = [w @ x + b for w, b in zip(head.linear.weight, head.linear.bias, strict=True)]
            total = total - torch.log(scores[z].exp() / sum(s.exp() for s in scores))
            total = total + beta * sum(s**2 for s in scores) / 2
        return total / len(labels)

    assert_same_as(head, torch.randn(7, 3).double(), torch.randint(4, (7,)), reference)


def test_gradcheck_and_terms():
    head = make(beta=0.3)
    torch.manual_seed(1)
    features, labels = torch.randn(5, 3).double().requires_grad_(), torch.randint(4, (5,))
    assert torch.autograd.gradcheck(lambda x: head(x, labels), (features,))
    terms, scores = head.terms(features, labels), head.logits(features)
    torch.testing.assert_close(terms["cross_entropy"], F.cross_entropy(scores, labels))
    torch.testing.assert_close(terms["penalty"], 0.15 * scores.norm(dim=1).square().mean())


def test_default_is_that_of_the_paper():
    assert make().beta == 6e-4
