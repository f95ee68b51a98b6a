"""Losses of features whose squares leave float32's range, against float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lossbench.losses import LOSSES, TrainingFacts, create_loss
from lossbench.losses.functional import unit_vectors

CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in LOSSES),
    *(("l_softmax", {"margin": margin, "beta_start": 0.0}) for margin in (2, 3, 4)),
    ("triplet", {"mining": "semi_hard"}),
    ("triplet", {"mining": "batch_hard", "softmax_weight": 0.0}),
    ("triplet", {"normalize": False}),
    ("lgm", {"covariance": "diagonal"}),
    ("contrastive", {"softmax_weight": 0.0}),
    *((name, {"class_weights": "balanced"}) for name in ("softmax", "focal", "label_smoothing")),
    ("ldam", {"reweight_from": 0.0}),
    ("sphereface", {"beta_start": 0.0, "beta_min": 0.0}),
]
SQUARES = {"center", "contrastive", "lgm", "logit_penalty", "squared_error", "triplet"}
"""Losses whose value is a square of the norm; it leaves float32's range where its square does."""
IDS = [" ".join([name, *(f"{k}={value}" for k, value in params.items())]) for name, params in CASES]


def both(name: str, params: dict[str, Any], norm: float) -> list[tuple[Tensor, Tensor]]:
    """Value and gradient in float32 and in float64, of the same features."""
    found = []
    directions = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    features = (norm * torch.nn.functional.normalize(directions.double())).float()
    labels = torch.arange(5).repeat_interleave(4)
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        head = create_loss(name, num_classes=5, feature_dim=6, **params)
        head.prepare(TrainingFacts(torch.tensor([40, 30, 20, 10, 5]), epochs=10))
        head.sample_indices = torch.arange(len(labels))
        head = head.to(dtype)
        inputs = features.to(dtype).requires_grad_()
        value = head(inputs, labels)
        found.append((value.detach(), torch.autograd.grad(value, inputs)[0]))
    return found


@pytest.mark.parametrize("exponent", [-37, -35, -30, -25, -23, -22, -18, -12, -5, 0, 5, 12, 15])
@pytest.mark.parametrize(("name", "params"), CASES, ids=IDS)
def test_value_and_gradient_agree_with_float64(
    name: str, params: dict[str, Any], exponent: int
) -> None:
    (value, gradient), (expected, exact) = both(name, params, 10.0**exponent)
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-6)
    assert gradient.isfinite().all()
    if name == "contrastive" and exponent < -20:
        return  # a squared distance below 1e-38 is 0, and repels nothing
    size = float(exact.abs().max())
    torch.testing.assert_close(gradient.double(), exact, rtol=0, atol=1e-3 * size)


@pytest.mark.parametrize("mining", ["all", "semi_hard", "batch_hard"])
def test_triplet_of_features_of_all_norms_on_nearly_one_ray(mining: str) -> None:
    """2-D features on their way through 0, where the exact gradient is as large as 1 / ||x||."""
    norms = 10.0 ** torch.linspace(-30, 1, 32, dtype=torch.double)[:, None]  # (N, 1)
    angles = 0.3 + 0.5 * torch.rand(32, 1, generator=torch.Generator().manual_seed(1)).double()
    features = (norms * torch.cat([angles.cos(), angles.sin()], 1)).float()
    labels = torch.arange(32) % 4
    found = []
    for dtype in (torch.float32, torch.float64):
        head = create_loss("triplet", num_classes=4, feature_dim=2, mining=mining).to(dtype)
        inputs = features.to(dtype).requires_grad_()
        value = head.terms(inputs, labels)["triplet"]
        found.append((value.detach().double(), torch.autograd.grad(value, inputs)[0].double()))
    (value, gradient), (expected, exact) = found
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    sizes = exact.norm(dim=1, keepdim=True)  # (N, 1)
    assert float(sizes.max()) > 1e27
    torch.testing.assert_close(gradient * norms, exact * norms, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("exponent", [18, 20, 25, 30, 36])
@pytest.mark.parametrize(("name", "params"), [case for case in CASES if case[0] not in SQUARES])
def test_huge_norms(name: str, params: dict[str, Any], exponent: int) -> None:
    (value, gradient), (expected, exact) = both(name, params, 10.0**exponent)
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-6)
    size = float(exact.abs().max())
    torch.testing.assert_close(gradient.double(), exact, rtol=0, atol=1e-3 * size)


@pytest.mark.parametrize("margin", [2, 3, 4])
def test_l_softmax_of_tiny_and_huge_weights_and_of_zero(margin: int) -> None:
    labels = torch.arange(5)
    sizes = {"num_classes": 5, "feature_dim": 6}
    for scale in (1e-30, 1e-24, 1e22, 1e30):
        head: Any = create_loss("l_softmax", **sizes, margin=margin, beta_start=0)
        features = torch.randn(5, 6, requires_grad=True)
        with torch.no_grad():
            head.linear.weight.mul_(scale)
        gradients = torch.autograd.grad(head(features, labels), [features, head.linear.weight])
        assert all(gradient.isfinite().all() for gradient in gradients)
    head = create_loss("l_softmax", **sizes, margin=margin, beta_start=0)
    with torch.no_grad():
        head.linear.weight.mul_(100)  # long weights, with features of 0
    features = torch.zeros(5, 6, requires_grad=True)
    [gradient] = torch.autograd.grad(head(features, labels), features)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("exponent", [-3, -1, 0, 1, 3])
def test_unit_vectors_have_the_bits_of_the_plain_quotient_for_usual_norms(exponent: int) -> None:
    torch.manual_seed(0)
    features = (torch.randn(200, 10) * 10.0**exponent).requires_grad_()
    weights = torch.randn(200, 10)
    norm = features.norm(dim=1, keepdim=True)
    plain = features / norm.masked_fill(norm == 0, torch.inf)
    unit = unit_vectors(features)
    assert torch.equal(unit, plain)
    gradients = [
        torch.autograd.grad((weights * which).sum(), features)[0] for which in (unit, plain)
    ]
    assert torch.equal(*gradients)


def test_unit_vector_of_a_zero_or_subnormal_vector_is_zero() -> None:
    features = torch.tensor([[0.0, 0.0], [1e-40, 0.0], [1e-37, 0.0]], requires_grad=True)
    unit = unit_vectors(features)
    assert unit.tolist() == [[0, 0], [0, 0], [1, 0]]
    [gradient] = torch.autograd.grad(unit[:2].sum(), features)
    assert torch.equal(gradient, torch.zeros(3, 2))
