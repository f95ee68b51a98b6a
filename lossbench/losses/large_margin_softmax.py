"""Large-margin softmax (L-Softmax): the angle to the true class is multiplied by m."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd.function import Function, once_differentiable
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.functional import overflow_safe_scale
from lossbench.losses.linear import LinearHead


def psi(cosine: Tensor, margin: int) -> tuple[Tensor, Tensor]:
    """psi(theta) and its derivative with respect to cos theta, computed from cos theta.

    psi(theta) = (-1)^q cos(m theta) - 2q  for theta in [q pi/m, (q+1) pi/m]

    cos(m theta) is the Chebyshev polynomial T_m of cos theta, and q is the number of thresholds
    cos(j pi/m) above cos theta. This avoids the arc cosine, whose derivative is infinite at both
    ends.

    Args:
        cosine: Tensor of any shape; rounding may put it slightly outside [-1, 1].
        margin: m, from 1 to 4.

    Returns:
        psi, which decreases from 1 at theta = 0 to 1 - 2m at theta = pi, and d psi / d cos theta;
        both in the shape of `cosine`.
    """
    square = cosine.square()
    multiple, slope = {  # T_m and its derivative
        1: lambda: (cosine, torch.ones_like(cosine)),
        2: lambda: (2 * square - 1, 4 * cosine),
        3: lambda: ((4 * square - 3) * cosine, 12 * square - 3),
        4: lambda: (8 * square * (square - 1) + 1, (32 * square - 16) * cosine),
    }[margin]()
    q = torch.zeros_like(cosine)
    for j in range(1, margin):
        q += cosine < math.cos(j * math.pi / margin)
    sign = 1 - 2 * (q % 2)
    return sign * multiple - 2 * q, sign * slope


class _MarginCrossEntropy(Function):
    """Large-margin cross-entropy with a closed-form gradient.

    f_k = w_k^T x,  f_z = (beta w_z^T x + |w_z| |x| psi) / (1 + beta)

    The backward pass costs two matrix products, as for a linear layer, plus terms of the true
    class. The outputs between the loss and the scores without margin are saved for it.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        features: Tensor, labels: Tensor, weight: Tensor, beta: Tensor, margin: int
    ) -> tuple[Tensor, ...]:
        index = labels[:, None]  # (N, 1)
        scale = overflow_safe_scale(features)  # (N, 1), 1 unless squares leave the range
        scaled = features * scale
        length = torch.linalg.vector_norm(scaled, dim=1)  # (N,)
        own = weight.index_select(0, labels)  # (N, D)
        own_scale = overflow_safe_scale(own)
        own_length = torch.linalg.vector_norm(own * own_scale, dim=1) / own_scale.squeeze(1)
        scores = scaled @ weight.T  # (N, K)
        plain = scores.gather(1, index).squeeze(1)  # (N,) |w_z| |x| cos theta
        lengths = length * own_length
        cosine = plain / lengths.clamp_min(torch.finfo(plain.dtype).tiny)
        value, slope = psi(cosine, margin)
        true = (beta * plain + lengths * value) / (1 + beta)  # (N,)
        scores.scatter_(1, index, true[:, None])
        log_posterior = scores.div_(scale).log_softmax(1)  # (N, K)
        loss = log_posterior.gather(1, index).mean().neg_()
        by_plain = (beta + slope) / (1 + beta)  # d true / d plain
        by_lengths = (value - cosine * slope) / (1 + beta)  # d true / d(|w_z| |x|)
        scores.scatter_(1, index, (plain / scale.squeeze(1))[:, None])  # without margin
        saved = (log_posterior.exp_(), scale, length, own_length, by_plain, by_lengths)
        return loss, *saved, scores

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        features, labels, weight, _, _ = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(features, labels, weight, *output[1:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Any, *_: Any) -> Any:
        if grad_loss is None:
            return (None,) * 5
        features, labels, weight, posterior, scale, length, own_length, by_plain, by_lengths = (
            ctx.saved_tensors
        )
        index, tiny = labels[:, None], torch.finfo(length.dtype).tiny
        grad_loss = grad_loss / len(labels)
        grad_scores = posterior * grad_loss  # (N, K)
        grad_true = grad_scores.gather(1, index).squeeze(1) - grad_loss  # (N,)
        grad_scores.scatter_(1, index, (grad_true * by_plain)[:, None])
        grad_lengths = grad_true * by_lengths  # (N,)
        along = weight.index_select(0, labels)  # (N, D)
        along *= (grad_lengths * (length / scale.squeeze(1)) / own_length.clamp_min(tiny))[:, None]
        grad_weight = (grad_scores.T @ features).index_add_(0, labels, along)  # (K, D)
        length = length.masked_fill(length == 0, math.inf)
        del along  # before another tensor of its size
        grad_features = features * scale  # (N, D)
        grad_features *= (grad_lengths * own_length / length)[:, None]
        return grad_features.addmm_(grad_scores, weight), None, grad_weight, None, None


def large_margin_cross_entropy(
    features: Tensor, labels: Tensor, weight: Tensor, margin: int, beta: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of the scores w_k^T x with the angle to the true class multiplied by m.

    Args:
        features: (N, D). A zero vector has score 0 for each class and a finite gradient.
        labels: (N,), in [0, K).
        weight: (K, D)
        margin: m, from 1 to 4.
        beta: Scalar, >= 0; receives no gradient.

    Returns:
        Loss, a scalar, differentiable once; and scores without margin, (N, K).
    """
    if margin == 1:  # psi is the cosine
        scores = features @ weight.T  # (N, K)
        return F.cross_entropy(scores, labels), scores
    loss, *_, scores = _MarginCrossEntropy.apply(features, labels, weight, beta, margin)  # type: ignore[no-untyped-call]
    return loss, scores


def annealed_beta(
    progress: float, *, start: float, gamma: float, power: float, floor: float
) -> float:
    """beta = max(floor, start * (1 + gamma * progress)^-power).

    Args:
        progress: Completed steps divided by all steps, in [0, 1).
        start: beta at the beginning, >= 0.
        gamma: >= 0
        power: >= 0
        floor: Smallest beta, >= 0.
    """
    return max(floor, start * math.pow(1 + gamma * progress, -power))


@LOSSES.register(
    "l_softmax", reference="Liu et al., ICML 2016", title="L-Softmax", symbols={"margin": "m"}
)
class LargeMarginSoftmaxHead(ScoreHead, LinearHead):
    """Large-margin softmax loss: cross-entropy with the angle to the true class multiplied by m.

    f_k = w_k^T x = ||w_k|| ||x|| cos theta_k  for k != z
    f_z = (beta w_z^T x + ||w_z|| ||x|| psi(theta_z)) / (1 + beta)
    psi(theta) = (-1)^q cos(m theta) - 2q  for theta in [q pi/m, (q+1) pi/m]
    L = -1/N sum_i log softmax(f(x_i))_{z_i}

    beta decreases during training, so that the loss changes from the softmax loss (large beta) to
    the full margin (beta = 0):
    beta = max(beta_min, beta_start * (1 + beta_gamma * progress)^-beta_power). With the defaults
    it is 1000 at the beginning, 16 after a quarter, 0.4 after half and 0.0007 at the end.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        margin: m, from 1 to 4. 1 gives the softmax loss without bias.
        beta_start: beta at the beginning, >= 0. 0 applies the full margin from the first step.
        beta_min: Smallest beta, >= 0; the authors recommend 5 or 10 for large, difficult data
            sets.
        beta_gamma: Speed of the decrease, >= 0. 0 keeps beta constant.
        beta_power: Exponent of the decrease, >= 0.

    Terms:
        cross_entropy: Mean cross-entropy of the batch, of the scores with margin.

    Reference:
        Liu, Wen, Yu, Yang: Large-Margin Softmax Loss for Convolutional Neural Networks.
        ICML 2016.

    Deviations:
        - beta is a function of the training's progress instead of the iteration, so that short
          and long trainings follow the same curve. The form and the defaults are those of the
          released code: base 1000, gamma 2.5e-5 per iteration over 20,000 iterations, power 35.
        - m is limited to 4, as in the released code, because psi is written out for each m; the
          paper has no limit.
    """

    beta: Tensor

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        margin: Annotated[int, Field(ge=1, le=4)] = 2,
        beta_start: Annotated[float, Field(ge=0)] = 1000.0,
        beta_min: Annotated[float, Field(ge=0)] = 0.0,
        beta_gamma: Annotated[float, Field(ge=0)] = 0.5,
        beta_power: Annotated[float, Field(ge=0)] = 35.0,
    ) -> None:
        super().__init__(num_classes, feature_dim, bias=False)
        self.margin = margin
        self._beta_at = partial(
            annealed_beta, start=beta_start, gamma=beta_gamma, power=beta_power, floor=beta_min
        )
        self.register_buffer("beta", torch.tensor(self._beta_at(0.0)))

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        weight = self.linear.weight
        loss, scores = large_margin_cross_entropy(features, labels, weight, self.margin, self.beta)
        return {"cross_entropy": loss}, scores

    def schedules(self) -> Mapping[str, Callable[[float], float]]:
        return {"beta": self._beta_at}
