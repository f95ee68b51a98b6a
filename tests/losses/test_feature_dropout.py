"""Dropout of the features against its definition, in loops, with the same random numbers."""

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss


def make(**params):
    torch.manual_seed(0)
    return create_loss("feature_dropout", num_classes=4, feature_dim=3, **params).double()


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.8])
def test_value_and_gradients(assert_same_as, rate):
    head = make(rate=rate)
    torch.manual_seed(1)
    drawn = torch.rand(7, 3).tolist()

    def reference(features, labels):
        total = 0.0
        for x, z, numbers in zip(features, labels.tolist(), drawn, strict=True):
            kept = [
                v / (1 - rate) if u >= rate else 0.0 * v for v, u in zip(x, numbers, strict=True)
            ]
            scores = [
                sum(w * v for w, v in zip(row, kept, strict=True)) + b
                for row, b in zip(head.linear.weight, head.linear.bias, strict=True)
            ]
            total = total - torch.log(scores[z].exp() / sum(s.exp() for s in scores))
        return total / len(labels)

    features, labels = torch.randn(7, 3).double(), torch.randint(4, (7,))
    torch.manual_seed(1)
    assert_same_as(head, features, labels, reference)


def test_gradcheck():
    head = make(rate=0.4)
    features, labels = torch.randn(5, 3).double().requires_grad_(), torch.randint(4, (5,))

    def loss(features):
        torch.manual_seed(2)
        return head(features, labels)

    assert torch.autograd.gradcheck(loss, (features,))


def test_share_of_dropped_components_and_unbiased_features():
    head = create_loss("feature_dropout", num_classes=2, feature_dim=1000, rate=0.3)
    with torch.no_grad():
        head.linear.weight.copy_(torch.stack([torch.ones(1000), torch.zeros(1000)]))
        head.linear.bias.zero_()
    seen = []
    head.linear.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    torch.manual_seed(3)
    head(torch.ones(200, 1000), torch.zeros(200, dtype=torch.long))
    [inputs] = seen
    assert inputs.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert float((inputs == 0).double().mean()) == pytest.approx(0.3, abs=0.005)
    assert float(inputs.double().mean()) == pytest.approx(1.0, abs=0.005)


def test_masks_differ_between_calls_but_not_between_types():
    head = make(rate=0.5)
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    torch.manual_seed(4)
    first, second = head(features, labels), head(features, labels)
    assert not torch.equal(first, second)
    torch.manual_seed(4)
    single = head.float()(features.float(), labels)
    torch.testing.assert_close(single.double(), first, rtol=1e-5, atol=0)


def test_class_scores_and_the_loss_in_eval_mode_have_no_dropout():
    head = make(rate=0.9)
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    assert torch.equal(head.logits(features), head.linear(features))
    before = torch.get_rng_state()
    assert torch.equal(
        head.eval()(features, labels), F.cross_entropy(head.linear(features), labels)
    )
    assert torch.equal(torch.get_rng_state(), before)
