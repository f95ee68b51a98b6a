"""Center loss against loops: the value, the movement of the centers, the density."""

import math

import pytest
import torch

from lossbench import create_loss
from lossbench.losses.center import center_distance, update_centers


def make(num_classes=4, feature_dim=3, **params):
    head = create_loss("center", num_classes=num_classes, feature_dim=feature_dim, **params)
    head.centers.normal_()
    return head.double()


def test_value_and_gradients(assert_same_as):
    torch.manual_seed(0)
    head = make(weight=0.7)

    def reference(features, labels):
        total = 0.0
        for x, z in zip(features, labels, strict=True):
            scores = [w @ x + b for w, b in zip(head.linear.weight, head.linear.bias, strict=True)]
            total = total - torch.log(scores[z].exp() / sum(s.exp() for s in scores))
            for a, c in zip(x, head.centers[z], strict=True):
                total = total + 0.7 / 2 * (a - c) ** 2
        return total / len(labels)

    assert_same_as(head, torch.randn(7, 3).double(), torch.randint(4, (7,)), reference)


def test_gradcheck():
    torch.manual_seed(1)
    head = make(weight=0.7)
    labels = torch.tensor([0, 1, 1, 3])
    features = torch.randn(4, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: head(x, labels), features)


def test_centers_move_by_the_rule_of_the_paper():
    torch.manual_seed(2)
    head = make(num_classes=5, center_rate=0.3)
    before = head.centers.clone()
    features, labels = torch.randn(9, 3).double(), torch.tensor([0, 0, 1, 3, 3, 3, 3, 0, 1])
    head.after_step(features, labels)
    for j in range(5):
        members = [x for x, z in zip(features, labels, strict=True) if z == j]
        delta = sum((before[j] - x for x in members), torch.zeros(3)) / (1 + len(members))
        torch.testing.assert_close(head.centers[j], before[j] - 0.3 * delta)
    assert torch.equal(head.centers[[2, 4]], before[[2, 4]])  # not in the batch
    assert not torch.equal(head.centers[3], before[3])


def test_centers_reach_the_means_of_their_classes():
    head = create_loss("center", num_classes=2, feature_dim=2)
    features = torch.tensor([[1.0, 2.0], [3.0, 2.0], [-5.0, 0.0]])
    for _ in range(100):
        head.after_step(features, torch.tensor([0, 0, 1]))
    torch.testing.assert_close(head.class_means, torch.tensor([[2.0, 2.0], [-5.0, 0.0]]))


def test_centers_stay_out_of_the_graph():
    head = make()
    head.after_step(torch.ones(1, 3).double().requires_grad_(), torch.tensor([0]))
    assert not head.centers.requires_grad


def test_half_precision_features_move_the_centers():
    head = create_loss("center", num_classes=2, feature_dim=2)
    head.after_step(torch.ones(3, 2, dtype=torch.bfloat16), torch.tensor([0, 0, 0]))
    torch.testing.assert_close(head.centers[0], torch.full((2,), 0.5 * 3 / 4))


def test_weight_0_is_softmax():
    torch.manual_seed(3)
    head = make(weight=0.0)
    softmax = create_loss("softmax", num_classes=4, feature_dim=3).double()
    softmax.linear.load_state_dict(head.linear.state_dict())
    labels = torch.randint(4, (6,))
    gradients = []
    for loss in (head, softmax):
        features = torch.linspace(-2, 2, 18).double().reshape(6, 3).requires_grad_()
        value = loss(features, labels)
        gradients.append([value, *torch.autograd.grad(value, [features, *loss.parameters()])])
    for a, e in zip(*gradients, strict=True):
        assert torch.equal(a, e)
    assert not torch.equal(make(weight=0.1)(features, labels), softmax(features, labels))


def test_density_is_a_unit_gaussian_around_each_center():
    torch.manual_seed(4)
    head = make()
    features = torch.randn(5, 3).double()
    log_density = head.class_log_density(features)
    for i, x in enumerate(features):
        for k, c in enumerate(head.centers):
            squared = sum(float(a - b) ** 2 for a, b in zip(x, c, strict=True))
            expected = -squared / 2 - 1.5 * math.log(2 * math.pi)
            assert float(log_density[i, k]) == pytest.approx(expected, rel=1e-12)


def test_no_tensor_has_an_element_for_each_sample_and_class(largest_tensor):
    n, k, d = 64, 5000, 2
    features, labels = torch.randn(n, d, requires_grad=True), torch.randint(k, (n,))
    centers = torch.randn(k, d)
    with largest_tensor:
        center_distance(features, labels, centers).backward()
        update_centers(features.detach(), labels, centers, 0.5)
    assert k * d <= largest_tensor.numel < n * k / 8
