"""SphereFace against the paper's definition, with the arc cosine and piece by piece."""

import math

import pytest
import torch
from torch.nn import functional as F

from lossbench import create_loss


def make(margin, feature_dim=2, num_classes=5, beta=0.0):
    head = create_loss(
        "sphereface", num_classes=num_classes, feature_dim=feature_dim, margin=margin,
        beta_start=beta, beta_min=0.0,
    )  # fmt: skip
    return head.double()


def piece(theta, margin):
    return min(math.floor(margin * theta.item() / math.pi), margin - 1)


def loop_loss(features, labels, weight, margin, beta):
    total = 0.0
    for x, z in zip(features, labels.tolist(), strict=True):
        length = torch.sqrt(x @ x)
        cosines = [w @ x / (torch.sqrt(w @ w) * length) for w in weight]
        theta = torch.acos(cosines[z])
        q = piece(theta, margin)
        psi = (-1) ** q * torch.cos(margin * theta) - 2 * q
        scores = [length * cosine for cosine in cosines]
        scores[z] = length * (beta * cosines[z] + psi) / (1 + beta)
        total = total - torch.log(scores[z].exp() / sum(s.exp() for s in scores))
    return total / len(labels)


@pytest.mark.parametrize("margin", [1, 2, 3, 4])
@pytest.mark.parametrize("beta", [0.0, 3.0])
def test_value_and_gradients(assert_same_as, margin, beta):
    torch.manual_seed(0)
    head = make(margin, beta=beta)
    features, labels = torch.randn(40, 2).double(), torch.randint(5, (40,))
    own = head.weight[labels]
    pieces = {piece(t, margin) for t in torch.acos(F.cosine_similarity(features, own))}
    assert pieces == set(range(margin))  # the batch sees the whole of psi
    assert_same_as(
        head,
        features,
        labels,
        lambda x, z: loop_loss(x, z, head.weight, margin, beta),
        rtol=1e-8,
    )


@pytest.mark.parametrize("margin", [1, 2, 3, 4])
def test_gradcheck(margin):
    torch.manual_seed(1)
    head = make(margin, feature_dim=3, beta=1.0)
    features, labels = torch.randn(6, 3).double().requires_grad_(), torch.randint(5, (6,))

    def loss(features, weight):
        return torch.func.functional_call(head, {"weight": weight}, (features, labels))

    assert torch.autograd.gradcheck(loss, (features, head.weight))


def test_lengths_of_the_class_weights_have_no_effect():
    torch.manual_seed(2)
    head = make(4, feature_dim=3, beta=5.0)
    features, labels = torch.randn(6, 3).double(), torch.randint(5, (6,))
    before, scores = head(features, labels), head.logits(features)
    with torch.no_grad():
        head.weight.mul_(torch.tensor([[0.1], [1.0], [2.0], [5.0], [10.0]]))
    torch.testing.assert_close(head(features, labels), before, rtol=1e-12, atol=0)
    torch.testing.assert_close(head.logits(features), scores, rtol=1e-12, atol=0)


def test_weights_of_length_1_give_l_softmax():
    torch.manual_seed(3)
    head = make(4, feature_dim=3, beta=5.0)
    other = create_loss("l_softmax", num_classes=5, feature_dim=3, margin=4, beta_start=5.0)
    other.double().load_state_dict(
        {"linear.weight": F.normalize(head.weight.detach()), "beta": head.beta}
    )
    features, labels = torch.randn(6, 3).double(), torch.randint(5, (6,))
    torch.testing.assert_close(head(features, labels), other(features, labels), rtol=1e-12, atol=0)


def test_beta_follows_the_released_code():
    """lambda = max(5, 1000 / (1 + 0.12 iteration)) over 28,000 iterations, with margin 4."""
    head = create_loss("sphereface", num_classes=3, feature_dim=2, beta_gamma=3360)
    assert head.margin == 4
    for iteration in (0, 10, 1000, 1658, 1659, 20_000, 27_999):
        head.set_progress(iteration / 28_000)
        expected = max(5, 1000 / (1 + 0.12 * iteration))
        assert float(head.beta) == pytest.approx(expected, rel=1e-6), iteration


def test_beta_is_5_from_the_middle_of_the_training():
    head = create_loss("sphereface", num_classes=3, feature_dim=2)
    for progress, expected in [(0.0, 1000.0), (0.25, 1000 / 101), (0.4975, 5.0), (0.9, 5.0)]:
        head.set_progress(progress)
        assert float(head.beta) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_is_finite_at_0_and_at_angles_of_0_and_pi(dtype):
    torch.manual_seed(4)
    head = make(4, feature_dim=8, num_classes=3).to(dtype)
    weight = head.weight.detach()
    for scale in (0.0, 1e-20, 1.0, -1.0, -1e-20):
        features = (scale * weight).requires_grad_()
        loss = head(features, torch.arange(3))
        gradients = torch.autograd.grad(loss, [features, head.weight])
        assert all(torch.isfinite(t).all() for t in (loss, *gradients)), scale
