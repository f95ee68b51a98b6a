"""Losses with a linear layer against the layer written out by hand, bit by bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lossbench import create_loss
from lossbench.losses import LOSSES
from lossbench.losses.linear import LinearHead

K, D, N = 5, 7, 12
BUFFERS = {"l_softmax": ["beta"], "center": ["centers"]}


def focal_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """-(1 - p)^2 log p by the log-odds of p, as documented."""
    others = scores.scatter(1, labels[:, None], -math.inf).logsumexp(1)
    log_odds = scores.gather(1, labels[:, None]).squeeze(1) - others
    return (F.softplus(-log_odds) * (-2.0 * F.softplus(log_odds)).exp()).mean()


LOSS_OF_SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "softmax": F.cross_entropy,
    "focal": focal_loss,
    "label_smoothing": lambda scores, labels: F.cross_entropy(scores, labels, label_smoothing=0.1),
    "center": F.cross_entropy,  # with weight 0
    "l_softmax": F.cross_entropy,  # with margin 1
    "feature_dropout": F.cross_entropy,  # with rate 0
    "final_layer_decay": F.cross_entropy,  # with lambda 0
    "logit_penalty": F.cross_entropy,  # with beta 0
}
PARAMS: dict[str, dict[str, Any]] = {
    "center": {"weight": 0.0},
    "l_softmax": {"margin": 1},
    "feature_dropout": {"rate": 0.0},
    "final_layer_decay": {"lambda": 0.0},
    "logit_penalty": {"beta": 0.0},
}


def layer_by_hand(bias: bool) -> list[Tensor]:
    """Weight and bias as nn.Linear draws them: first the weight, then the bias."""
    bound = 1 / math.sqrt(D)
    weight = torch.empty(K, D).uniform_(-bound, bound)
    return [weight, torch.empty(K).uniform_(-bound, bound)] if bias else [weight]


@pytest.mark.parametrize("name", LOSS_OF_SCORES)
def test_linear_losses_have_the_bits_of_a_layer_written_out(name: str) -> None:
    bias = name != "l_softmax"
    torch.manual_seed(11)
    head = create_loss(name, num_classes=K, feature_dim=D, **PARAMS.get(name, {}))
    drawn_next = torch.rand(1)
    torch.manual_seed(11)
    layer = layer_by_hand(bias)
    assert torch.equal(drawn_next, torch.rand(1))  # nothing else is drawn

    assert isinstance(head, LinearHead)
    names = ["linear.weight", "linear.bias"] if bias else ["linear.weight"]
    assert [key for key, _ in head.named_parameters()] == names
    assert set(head.state_dict()) == {*names, *BUFFERS.get(name, [])}
    for parameter, expected in zip(head.parameters(), layer, strict=True):
        assert torch.equal(parameter, expected)

    features, labels = torch.randn(N, D, requires_grad=True), torch.arange(N) % K
    layer = [tensor.requires_grad_() for tensor in layer]
    scores = F.linear(features, *layer)
    assert torch.equal(head.logits(features), scores)
    expected_loss = LOSS_OF_SCORES[name](scores, labels)
    loss = head(features, labels)
    assert torch.equal(loss, expected_loss)
    gradients = torch.autograd.grad(loss, [features, *head.parameters()])
    expected_gradients = torch.autograd.grad(expected_loss, [features, *layer])
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        assert torch.equal(gradient, expected)


def test_bias_is_not_a_parameter_of_any_linear_loss() -> None:
    for name in LOSS_OF_SCORES:
        assert "bias" not in LOSSES[name].parameter_names
