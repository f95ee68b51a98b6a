"""Pair and triplet losses: the softmax part, and the nearest class mean without it."""

import pytest
import torch

from lossbench import create_loss
from lossbench.errors import ParameterError
from lossbench.losses.joint import distances
from lossbench.losses.pairs import squared_distances

NAMES = ["contrastive", "triplet"]


@pytest.mark.parametrize("name", NAMES)
def test_loss_is_softmax_plus_the_pure_form(name):
    torch.manual_seed(0)
    features, labels = torch.randn(8, 3), torch.randint(3, (8,))
    joint = create_loss(name, num_classes=3, feature_dim=3, weight=0.5, softmax_weight=2.0)
    pure = create_loss(name, num_classes=3, feature_dim=3, weight=1.0, softmax_weight=0.0)
    softmax = create_loss("softmax", num_classes=3, feature_dim=3)
    softmax.linear.load_state_dict(joint.linear.state_dict())
    expected = 0.5 * pure(features, labels) + 2 * softmax(features, labels)
    torch.testing.assert_close(joint(features, labels), expected)
    assert torch.equal(joint.logits(features), softmax.logits(features))
    assert not joint.needs_class_means


@pytest.mark.parametrize("name", NAMES)
def test_weight_0_is_softmax(name):
    torch.manual_seed(0)
    features, labels = torch.randn(8, 3), torch.randint(3, (8,))
    head = create_loss(name, num_classes=3, feature_dim=3, weight=0.0)
    expected = torch.nn.functional.cross_entropy(head.linear(features), labels)
    torch.testing.assert_close(head(features, labels), expected)


@pytest.mark.parametrize("name", NAMES)
def test_both_weights_0_are_refused(name):
    with pytest.raises(ParameterError, match="nothing would be trained"):
        create_loss(name, num_classes=3, feature_dim=3, weight=0.0, softmax_weight=0.0)


@pytest.mark.parametrize("params", [{}, {"normalize": False}])
def test_pure_form_scores_by_the_nearest_class_mean(params):
    torch.manual_seed(1)
    head = create_loss("triplet", num_classes=3, feature_dim=2, softmax_weight=0.0, **params)
    assert head.needs_class_means
    assert list(head.parameters()) == []
    features, labels = torch.randn(12, 2) + 1, torch.arange(12) % 3
    head.fit_class_means(features, labels)

    def embed(x):
        return x / x.square().sum().sqrt() if head.normalize else x

    scores = head.logits(features)
    for k in range(3):
        members = [embed(x) for x, z in zip(features, labels, strict=True) if z == k]
        mean = sum(members) / len(members)
        torch.testing.assert_close(head.class_means[k], mean)
        for i, x in enumerate(features):
            torch.testing.assert_close(scores[i, k], -(embed(x) - mean).square().sum() / 2)


def test_class_without_training_images_is_never_predicted():
    head = create_loss("contrastive", num_classes=3, feature_dim=2, softmax_weight=0.0)
    head.fit_class_means(torch.tensor([[9.0, 9.0], [8.0, 8.0]]), torch.tensor([0, 2]))
    at_the_origin = torch.zeros(1, 2, requires_grad=True)
    scores = head.logits(at_the_origin)
    assert scores.argmax(1).item() == 2
    assert scores.softmax(1)[0, 1] == 0
    scores.max().backward()
    assert torch.isfinite(at_the_origin.grad).all()


def test_distances_are_exact_far_from_the_origin():
    torch.manual_seed(2)
    x = 1000 + 0.01 * torch.randn(30, 16)
    exact = (x[:, None].double() - x.double()).square().sum(2).sqrt()
    torch.testing.assert_close(distances(x, x).double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_squared_distances_are_exact_far_from_the_origin_and_0_for_equal_vectors(dtype):
    torch.manual_seed(3)
    x = (1000 + torch.randn(20, 64) + 0.01 * torch.randn(2, 20, 64)).flatten(0, 1).to(dtype)
    x[7] = x[3]
    exact = (x[:, None].double() - x.double()).square().sum(2)
    actual, _ = squared_distances(x)
    assert actual.dtype == dtype
    torch.testing.assert_close(actual.double(), exact, rtol=2e-7, atol=0)
    assert actual[7, 3] == actual[3, 7] == actual[0, 0] == 0


PURE = [
    ("contrastive", {"margin": 1.5}),
    *(
        ("triplet", {"mining": m, "normalize": False, "margin": 1.0})
        for m in ("all", "semi_hard", "batch_hard")
    ),
]


@pytest.mark.parametrize(("name", "params"), PURE)
@pytest.mark.parametrize("sigma", [1e-4, 0.1])
def test_float32_agrees_with_float64(name, params, sigma):
    """Loss within 1e-6, gradients within 1e-5, with classes close and far from the origin."""
    torch.manual_seed(4)
    head = create_loss(name, num_classes=5, feature_dim=24, softmax_weight=0.0, **params)
    labels = torch.arange(5).repeat_interleave(4)
    features = 300 + 0.1 * torch.randn(5, 24)[labels] + sigma * torch.randn(20, 24)
    found = []
    for x in (features, features.double()):
        x.requires_grad_()
        loss = head(x, labels)
        found.append((loss.double(), torch.autograd.grad(loss, x)[0].double()))
    (loss, gradient), (exact_loss, exact_gradient) = found
    assert loss.item() == pytest.approx(exact_loss.item(), rel=1e-6)
    assert (gradient - exact_gradient).norm() <= 1e-5 * exact_gradient.norm()
    assert exact_gradient.norm() > 0


@pytest.mark.parametrize("name", NAMES)
def test_no_tensor_has_an_element_for_each_pair_and_dimension(largest_tensor, name):
    n, d = 32, 512
    head = create_loss(name, num_classes=4, feature_dim=d)
    features = torch.randn(n, d, requires_grad=True)
    with largest_tensor:
        head(features, torch.arange(n) % 4).backward()
    assert n * n <= largest_tensor.numel < n * n * d / 8
