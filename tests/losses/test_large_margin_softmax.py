"""L-Softmax against the paper's definition, with the arc cosine and piece by piece."""

import math

import pytest
import torch
from torch.nn import functional as F

from benchmarks.memory import peak_bytes
from lossbench import create_loss
from lossbench.losses.large_margin_softmax import psi


def make(margin, feature_dim=2, num_classes=5, beta=0.0):
    head = create_loss(
        "l_softmax", num_classes=num_classes, feature_dim=feature_dim, margin=margin,
        beta_start=beta,
    )  # fmt: skip
    return head.double()


def piece(theta, margin):
    return min(math.floor(margin * theta.item() / math.pi), margin - 1)


def loop_loss(features, labels, weight, margin, beta):
    total = 0.0
    for x, z in zip(features, labels.tolist(), strict=True):
        scores = [w @ x for w in weight]
        lengths = torch.sqrt(x @ x) * torch.sqrt(weight[z] @ weight[z])
        theta = torch.acos(scores[z] / lengths)
        q = piece(theta, margin)
        large = lengths * ((-1) ** q * torch.cos(margin * theta) - 2 * q)
        scores[z] = (beta * scores[z] + large) / (1 + beta)
        total = total - torch.log(scores[z].exp() / sum(s.exp() for s in scores))
    return total / len(labels)


@pytest.mark.parametrize("margin", [1, 2, 3, 4])
@pytest.mark.parametrize("beta", [0.0, 3.0])
def test_value_and_gradients(assert_same_as, margin, beta):
    torch.manual_seed(0)
    head = make(margin, beta=beta)
    features, labels = torch.randn(40, 2).double(), torch.randint(5, (40,))
    own = head.linear.weight[labels]
    pieces = {piece(t, margin) for t in torch.acos(F.cosine_similarity(features, own))}
    assert pieces == set(range(margin))  # the batch sees the whole of psi
    weight = head.linear.weight
    assert_same_as(
        head, features, labels, lambda x, z: loop_loss(x, z, weight, margin, beta), rtol=1e-8
    )


@pytest.mark.parametrize("margin", [2, 3, 4])
def test_gradcheck(margin):
    torch.manual_seed(1)
    head = make(margin, feature_dim=3, beta=1.0)
    features, labels = torch.randn(6, 3).double().requires_grad_(), torch.randint(5, (6,))

    def loss(features, weight):
        return torch.func.functional_call(head, {"linear.weight": weight}, (features, labels))

    assert torch.autograd.gradcheck(loss, (features, head.linear.weight))


@pytest.mark.parametrize("margin", [1, 2, 3, 4])
def test_psi_decreases_continuously_from_1_to_1_minus_2m(margin):
    theta = torch.linspace(0, math.pi, 5001).double()
    values, _ = psi(torch.cos(theta), margin)
    assert float(values[0]) == pytest.approx(1)
    assert float(values[-1]) == pytest.approx(1 - 2 * margin)
    steps = values.diff()
    assert (steps <= 1e-12).all()
    assert (steps >= -1.01 * margin * math.pi / 5000).all()  # |psi'| is at most m


def test_margin_1_is_softmax_without_bias():
    torch.manual_seed(2)
    head = make(1, feature_dim=3, beta=7.0)
    features, labels = torch.randn(6, 3).double(), torch.randint(5, (6,))
    expected = F.cross_entropy(features @ head.linear.weight.T, labels)
    assert torch.equal(head(features, labels), expected)


def test_large_beta_gives_softmax_and_margin_increases_the_loss():
    torch.manual_seed(3)
    features, labels = torch.randn(6, 2).double(), torch.randint(5, (6,))
    head = make(4)
    softmax = F.cross_entropy(head.logits(features), labels)
    full = head(features, labels)
    assert full > softmax + 0.1
    head.beta.fill_(1e9)
    torch.testing.assert_close(head(features, labels), softmax, rtol=1e-6, atol=0)


@pytest.mark.parametrize("margin", [2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_is_finite_where_the_arc_cosine_is_not(margin, dtype):
    """At x = 0, and at angles of exactly 0 and pi."""
    torch.manual_seed(4)
    head = make(margin, feature_dim=8, num_classes=3).to(dtype)
    weight = head.linear.weight.detach()
    for scale in (0.0, 1e-20, 1.0, 3.0, -1.0, -1e-20):
        features = (scale * weight).requires_grad_()
        loss = head(features, torch.arange(3))
        gradients = torch.autograd.grad(loss, [features, head.linear.weight])
        assert all(torch.isfinite(t).all() for t in (loss, *gradients)), scale
    squared = weight.square().sum(1)
    for scale, at in ((2.0, 1.0), (-2.0, 1.0 - 2 * margin)):
        scores = scale * weight @ weight.T
        scores[range(3), range(3)] = 2 * squared * at
        expected = F.cross_entropy(scores, torch.arange(3))
        torch.testing.assert_close(head(scale * weight, torch.arange(3)), expected)


def test_beta_decreases_as_documented():
    head = create_loss("l_softmax", num_classes=3, feature_dim=2)
    assert float(head.beta) == 1000  # before the first step, too
    for progress, beta in {0.0: 1000, 0.25: 16, 0.5: 0.4, 1.0: 0.0007}.items():
        head.set_progress(progress)
        assert float(head.beta) == pytest.approx(beta, rel=0.05)


def test_beta_does_not_fall_below_beta_min():
    head = create_loss("l_softmax", num_classes=3, feature_dim=2, beta_min=5)
    head.set_progress(0.1)
    assert 5 < float(head.beta) < 1000
    head.set_progress(0.9)
    assert float(head.beta) == 5


def test_peak_memory_is_at_most_twice_that_of_a_linear_layer():
    features = torch.randn(128, 384, requires_grad=True)
    labels = torch.arange(128) % 100
    peaks = []
    for name in ("softmax", "l_softmax"):
        head = create_loss(name, num_classes=100, feature_dim=384)
        parameters = [features, *head.parameters()]

        def call(head=head, parameters=parameters):
            for parameter in parameters:
                parameter.grad = None
            head(features, labels).backward()

        peaks.append(peak_bytes(call))
    assert peaks[1] <= 2 * peaks[0]
