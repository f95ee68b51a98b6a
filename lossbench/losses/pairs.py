"""Losses on the squared distances between all embeddings of a batch, and their gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

DistanceLoss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Function from squared distances (N, N) and labels (N,) to a scalar and its gradient (N, N)."""


def pair_loss(embeddings: Tensor, labels: Tensor, rule: DistanceLoss) -> Tensor:
    """Apply a loss on distances to all pairs of a batch.

    With g the gradient with respect to the squared distances, the gradient with respect to the
    embeddings costs one matrix product: d L / d x_i = 2 sum_j (g_ij + g_ji) (x_i - x_j).

    Args:
        embeddings: (N, D)
        labels: (N,)
        rule: Loss on the squared distances.

    Returns:
        Scalar, differentiable once.
    """
    value: Tensor = _PairLoss.apply(embeddings, labels, rule)[0]  # type: ignore[no-untyped-call]
    return value


def squared_distances(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """||x_i - x_j||^2, as exact as if computed from differences.

    For float32, the square is expanded in float64, with the embeddings centred on their mean. The
    rounding error is less than half of that of the float32 embeddings themselves, and equal
    embeddings have distance 0. For float64 there is no wider type, so differences are used.

    Args:
        embeddings: (N, D)

    Returns:
        Squared distances (N, N); and the centred embeddings (N, D) in float64.
    """
    x = embeddings.double()
    x = x - x.mean(0)
    if embeddings.dtype == torch.float64:
        mode = "donot_use_mm_for_euclid_dist"
        return torch.cdist(embeddings, embeddings, compute_mode=mode).square_(), x
    product = x @ x.T  # (N, N)
    square = product.diagonal()  # (N,)
    sums = square[:, None] + square
    distance = torch.sub(sums, product, alpha=2)
    rounding = 4 * torch.finfo(x.dtype).eps
    return distance.masked_fill_(distance <= sums.mul_(rounding), 0.0).to(embeddings.dtype), x


class _PairLoss(Function):
    @staticmethod
    def forward(embeddings: Tensor, labels: Tensor, rule: DistanceLoss) -> tuple[Tensor, ...]:
        distance, x = squared_distances(embeddings)
        value, gradient = rule(distance, labels)
        return value, gradient, x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[1:])
        ctx.dtype = inputs[0].dtype

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_value: Any, *_: Any) -> Any:
        if grad_value is None:
            return None, None, None
        gradient, x = ctx.saved_tensors
        weight = (gradient + gradient.T).double().mul_(2 * grad_value)  # (N, N)
        grad_x = torch.addmm(weight.sum(1)[:, None] * x, weight, x, alpha=-1)
        return grad_x.to(ctx.dtype), None, None
