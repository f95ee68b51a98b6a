"""ArcFace, CosFace and additive-margin softmax against their papers' definitions, in loops."""

import math

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss

NAMES = ["arcface", "cosface", "am_softmax"]


def make(name, feature_dim=3, num_classes=4, **params):
    head = create_loss(name, num_classes=num_classes, feature_dim=feature_dim, **params)
    return head.double()


def with_margin(name, theta, margin):
    """The true class's score before the scale, by the angle itself."""
    if name != "arcface":
        return torch.cos(theta) - margin
    if theta < math.pi - margin:
        return torch.cos(theta + margin)
    return torch.cos(theta) - margin * math.sin(margin)


def loop_loss(name, features, labels, weight, margin, scale):
    total = 0.0
    for x, z in zip(features, labels.tolist(), strict=True):
        cosines = [w @ x / (torch.sqrt(w @ w) * torch.sqrt(x @ x)) for w in weight]
        cosines[z] = with_margin(name, torch.acos(cosines[z]), margin)
        scores = [scale * c for c in cosines]
        total = total - torch.log(scores[z].exp() / sum(s.exp() for s in scores))
    return total / len(labels)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("margin", "scale"), [(0.0, 1.0), (0.3, 5.0), (1.2, 10.0)])
def test_value_and_gradients(assert_same_as, name, margin, scale):
    torch.manual_seed(0)
    head = make(name, margin=margin, scale=scale)
    features, labels = torch.randn(30, 3).double(), torch.randint(4, (30,))
    own = F.cosine_similarity(features, head.weight[labels]).acos()
    if margin == 1.2:
        assert (own > math.pi - margin).any()  # ArcFace goes on in a straight line there
        assert (own < math.pi - margin).any()
    weight = head.weight
    assert_same_as(
        head, features, labels, lambda x, z: loop_loss(name, x, z, weight, margin, scale), 1e-9
    )


@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name):
    torch.manual_seed(1)
    head = make(name, margin=0.4, scale=6.0)
    features, labels = torch.randn(5, 3).double().requires_grad_(), torch.randint(4, (5,))

    def loss(features, weight):
        return torch.func.functional_call(head, {"weight": weight}, (features, labels))

    assert torch.autograd.gradcheck(loss, (features, head.weight))


@pytest.mark.parametrize("name", NAMES)
def test_margin_0_is_softmax_on_scaled_cosines(name):
    torch.manual_seed(2)
    head = make(name, margin=0.0, scale=7.0)
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    cosines = F.normalize(features) @ F.normalize(head.weight).T
    torch.testing.assert_close(head(features, labels), F.cross_entropy(7 * cosines, labels))
    torch.testing.assert_close(head.logits(features), 7 * cosines)


def test_defaults_are_those_of_the_papers():
    arcface, cosface, am_softmax = (make(name) for name in NAMES)
    assert (arcface.margin, arcface.scale) == (0.5, 64)
    assert (cosface.margin, cosface.scale) == (0.35, 64)
    assert (am_softmax.margin, am_softmax.scale) == (0.35, 30)
    torch.manual_seed(3)
    am_softmax.load_state_dict(cosface.state_dict())
    am_softmax.scale = 64.0
    features, labels = torch.randn(6, 3).double(), torch.randint(4, (6,))
    assert torch.equal(am_softmax(features, labels), cosface(features, labels))


def test_arcface_score_decreases_with_the_angle():
    head = make("arcface", margin=0.5)
    theta = torch.linspace(0, math.pi, 2001).double()
    scores = head.margin_cosine(torch.cos(theta / 2), torch.sin(theta / 2))
    assert float(scores[0]) == pytest.approx(math.cos(0.5))
    assert (scores.diff() < 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_is_finite_where_the_arc_cosine_is_not(name, dtype):
    """At x = 0, and at angles of exactly 0 and pi."""
    torch.manual_seed(4)
    head = make(name, feature_dim=8, num_classes=3).to(dtype)
    weight = head.weight.detach()
    for scale in (0.0, 1e-20, 1.0, -1.0, -1e-20):
        features = (scale * weight).requires_grad_()
        loss = head(features, torch.arange(3))
        gradients = torch.autograd.grad(loss, [features, head.weight])
        assert all(torch.isfinite(t).all() for t in (loss, *gradients)), scale


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_float32_is_close_to_float64(name, spread):
    """Also for features nearly parallel or antiparallel to the weight of their class."""
    torch.manual_seed(5)
    exact = make(name, feature_dim=16, num_classes=10, scale=16.0)
    labels = torch.randint(10, (64,))
    away = torch.where(torch.rand(64, 1) < 0.2, -1.0, 1.0)
    features = (away * exact.weight.detach()[labels] + spread * torch.randn(64, 16)).double()
    single = create_loss(name, num_classes=10, feature_dim=16, scale=16.0)
    single.load_state_dict(exact.state_dict())
    exact.load_state_dict(single.state_dict())  # the same rounding
    features = features.float()
    results = []
    for head, x in ((exact, features.double()), (single, features)):
        x = x.clone().requires_grad_()
        loss = head(x, labels)
        results.append((loss.detach(), *torch.autograd.grad(loss, [x, head.weight])))
    (loss, *gradients), (loss32, *gradients32) = results
    assert abs(float(loss32) - float(loss)) < 1e-6 * max(1, float(loss))
    for expected, found in zip(gradients, gradients32, strict=True):
        assert (found - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("name", NAMES)
def test_no_tensor_has_classes_and_dimensions_for_each_image(largest_tensor, name):
    head = create_loss(name, num_classes=50, feature_dim=40)
    with largest_tensor:
        head(torch.randn(30, 40, requires_grad=True), torch.randint(50, (30,))).backward()
    assert largest_tensor.numel <= 50 * 40
