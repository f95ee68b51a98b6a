"""L2 penalty on the weights of the last layer against its definition, in loops."""

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss


def make(**params):
    torch.manual_seed(0)
    head = create_loss("final_layer_decay", num_classes=4, feature_dim=3, **params)
    return head.double()


@pytest.mark.parametrize("weight", [0.0, 8e-4, 0.5])
def test_value_and_gradients(assert_same_as, weight):
    head = make(**{"lambda": weight})

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels.tolist(), strict=True):
            scores = [w @ x + b for w, b in zip(head.linear.weight, head.linear.bias, strict=True)]
            total = total - torch.log(scores[z].exp() / sum(s.exp() for s in scores))
        squares = sum(w**2 for row in head.linear.weight for w in row)
        return total / len(labels) + weight * squares / 2

    assert_same_as(head, torch.randn(7, 3).double(), torch.randint(4, (7,)), reference)


def test_gradcheck():
    head = make(lambda_=0.3)
    torch.manual_seed(1)
    features, labels = torch.randn(5, 3).double().requires_grad_(), torch.randint(4, (5,))

    def loss(features, weight):
        return torch.func.functional_call(head, {"linear.weight": weight}, (features, labels))

    assert torch.autograd.gradcheck(loss, (features, head.linear.weight))


def test_with_sgd_it_is_weight_decay_of_the_weights_but_not_of_the_bias():
    head, other = make(lambda_=0.1), make(lambda_=0.0)
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    decayed = {"params": [other.linear.weight], "weight_decay": 0.1}
    optimizers = [
        torch.optim.SGD(head.parameters(), lr=0.5),
        torch.optim.SGD([decayed, {"params": [other.linear.bias]}], lr=0.5),
    ]
    head(features, labels).backward()
    F.cross_entropy(other.linear(features), labels).backward()
    for optimizer in optimizers:
        optimizer.step()
    for found, expected in zip(head.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)
