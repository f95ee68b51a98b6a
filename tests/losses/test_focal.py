"""Focal loss against its definition, in loops."""

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss
from lossbench.losses.focal import focal


def make(**params):
    torch.manual_seed(0)
    return create_loss("focal", num_classes=4, feature_dim=3, **params).double()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_value_and_gradients(assert_same_as, gamma):
    head = make(gamma=gamma)

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels.tolist(), strict=True):
            scores = [w @ x + b for w, b in zip(head.linear.weight, head.linear.bias, strict=True)]
            p = scores[z].exp() / sum(s.exp() for s in scores)
            total = total - (1 - p) ** gamma * torch.log(p)
        return total / len(labels)

    assert_same_as(head, torch.randn(7, 3).double(), torch.randint(4, (7,)), reference)


def test_gradcheck():
    torch.manual_seed(1)
    scores, labels = torch.randn(6, 4).double().requires_grad_(), torch.randint(4, (6,))
    assert torch.autograd.gradcheck(lambda s: focal(s, labels, 1.5), (scores,))


def test_gamma_0_is_softmax():
    head = make(gamma=0.0)
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    expected = F.cross_entropy(head.logits(features), labels)
    torch.testing.assert_close(head(features, labels), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_loss_of_well_classified_images_is_small_and_exact(gamma):
    """Where 1 - p rounds to 0 in float32, and a power of it below 1 would have no gradient."""
    scores = torch.tensor([[20.0, 0.0, 0.0], [200.0, 0.0, 0.0]], requires_grad=True)
    labels = torch.zeros(2, dtype=torch.long)
    [gradient] = torch.autograd.grad(focal(scores, labels, gamma), scores)
    exact = scores.detach().double().requires_grad_()
    value = focal(exact, labels, gamma)
    [expected] = torch.autograd.grad(value, exact)
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-30)
    q = 2 * torch.exp(torch.tensor(-20.0).double())  # 1 - p of the first, nearly
    assert float(2 * value.detach()) == pytest.approx(float(q ** (1 + gamma)), rel=1e-6)
