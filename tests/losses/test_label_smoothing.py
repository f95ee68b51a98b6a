"""Label smoothing against its definition, in loops."""

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss


def make(**params):
    torch.manual_seed(0)
    return create_loss("label_smoothing", num_classes=4, feature_dim=3, **params).double()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_value_and_gradients(assert_same_as, smoothing):
    head = make(smoothing=smoothing)

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels.tolist(), strict=True):
            scores = [w @ x + b for w, b in zip(head.linear.weight, head.linear.bias, strict=True)]
            whole = sum(s.exp() for s in scores)
            for k, score in enumerate(scores):
                wanted = (1 - smoothing) * (k == z) + smoothing / 4
                total = total - wanted * torch.log(score.exp() / whole)
        return total / len(labels)

    assert_same_as(head, torch.randn(7, 3).double(), torch.randint(4, (7,)), reference)


def test_smoothing_0_is_softmax():
    head = make(smoothing=0.0)
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    assert torch.equal(head(features, labels), F.cross_entropy(head.logits(features), labels))


def test_overconfident_scores_have_a_larger_loss():
    head = make()
    features, labels = torch.eye(3).double(), torch.arange(3)
    with torch.no_grad():
        head.linear.bias.zero_()
        head.linear.weight.copy_(torch.eye(4, 3))
        near = head(4 * features, labels)
        assert head(40 * features, labels) > near
