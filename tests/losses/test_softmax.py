"""Softmax against Eqs. 1 and 2 in loops."""

import torch

from lossbench import create_loss


def test_softmax_is_the_cross_entropy_of_equations_1_and_2(assert_same_as):
    torch.manual_seed(0)
    head = create_loss("softmax", num_classes=4, feature_dim=3).double()

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels, strict=True):
            affinities = [
                sum(w * v for w, v in zip(row, x, strict=True)) + b
                for row, b in zip(head.linear.weight, head.linear.bias, strict=True)
            ]
            total = total - torch.log(affinities[z].exp() / sum(f.exp() for f in affinities))
        return total / len(labels)

    features = torch.randn(7, 3, dtype=torch.double)
    assert_same_as(head, features, torch.randint(4, (7,)), reference)
