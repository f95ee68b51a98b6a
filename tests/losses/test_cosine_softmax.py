"""Cosine softmax against its definition, in loops."""

import pytest
import torch

from lossbench import create_loss


def make(**params):
    torch.manual_seed(0)
    head = create_loss("cosine_softmax", num_classes=4, feature_dim=3, **params).double()
    with torch.no_grad():
        head.bias.copy_(0.1 * torch.randn(4))
    return head


@pytest.mark.parametrize("tau", [0.05, 0.3, 2.0])
def test_value_and_gradients(assert_same_as, tau):
    head = make(tau=tau)

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels.tolist(), strict=True):
            scores = []
            for w, b in zip(head.weight, head.bias, strict=True):
                cosine = (w @ x) / (torch.sqrt(w @ w) * torch.sqrt(x @ x))
                scores.append((cosine + b) / tau)
            total = total - torch.log(scores[z].exp() / sum(s.exp() for s in scores))
        return total / len(labels)

    assert_same_as(head, torch.randn(7, 3).double(), torch.randint(4, (7,)), reference)


def test_gradcheck():
    head = make(tau=0.2)
    torch.manual_seed(1)
    features, labels = torch.randn(5, 3).double().requires_grad_(), torch.randint(4, (5,))

    def loss(features, weight, bias):
        parameters = {"weight": weight, "bias": bias}
        return torch.func.functional_call(head, parameters, (features, labels))

    assert torch.autograd.gradcheck(loss, (features, head.weight, head.bias))


def test_without_bias_it_is_cosface_without_margin():
    head = make(tau=0.1)
    other = create_loss("cosface", num_classes=4, feature_dim=3, margin=0.0, scale=10.0).double()
    with torch.no_grad():
        head.bias.zero_()
        other.weight.copy_(head.weight)
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    torch.testing.assert_close(head(features, labels), other(features, labels))
    torch.testing.assert_close(head.logits(features), other.logits(features))


def test_bias_starts_at_0_and_norms_have_no_effect():
    assert not create_loss("cosine_softmax", num_classes=4, feature_dim=3).bias.any()
    head = make()
    features = torch.randn(6, 3).double()
    scores = head.logits(features)
    with torch.no_grad():
        head.weight.mul_(torch.tensor([[0.1], [2.0], [30.0], [1.0]]))
    torch.testing.assert_close(head.logits(7 * features), scores)
