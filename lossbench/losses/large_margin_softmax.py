"""Large-margin softmax (L-Softmax): the angle to the true class counts m-fold."""

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

from lossbench.losses.base import LOSSES, in_float32
from lossbench.losses.functional import overflow_safe_scale
from lossbench.losses.linear import LinearHead


def psi(cosine: Tensor, margin: int) -> tuple[Tensor, Tensor]:
    """psi(theta) = (-1)^q cos(m theta) - 2q for theta in [q pi/m, (q+1) pi/m], and its slope.

    From the cosine alone: cos(m theta) is the Chebyshev polynomial T_m of it, and q counts the
    thresholds cos(j pi/m) that it has fallen below. So there is no arc cosine, whose derivative
    is infinite at both ends.

    Args:
        cosine: Any shape; rounding may take it slightly out of [-1, 1].
        margin: m, 1 to 4.

    Returns:
        psi, which falls from 1 at theta = 0 to 1 - 2m at pi, and d psi / d cos theta; both of
        the shape of the cosine.
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
    """Cross-entropy of w_k^T x, the true class's (beta w_z^T x + |w_z| |x| psi) / (1 + beta).

    With its gradient written out: two matrix products, as for a linear layer, and what the
    margin adds to the true class on top. The outputs after the first are kept for it.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        features: Tensor, labels: Tensor, weight: Tensor, beta: Tensor, margin: int
    ) -> tuple[Tensor, ...]:
        index = labels[:, None]  # (N, 1)
        scale = overflow_safe_scale(features)  # (N, 1), 1 but for lengths that squares would lose
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
        return loss, log_posterior.exp_(), scale, length, own_length, by_plain, by_lengths

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        features, labels, weight, _, _ = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(features, labels, weight, *output[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: Any, *_: Any) -> Any:
        if of_loss is None:
            return (None,) * 5
        features, labels, weight, posterior, scale, length, own_length, by_plain, by_lengths = (
            ctx.saved_tensors
        )
        index, tiny = labels[:, None], torch.finfo(length.dtype).tiny
        of_loss = of_loss / len(labels)
        of_scores = posterior * of_loss  # (N, K)
        of_true = of_scores.gather(1, index).squeeze(1) - of_loss  # (N,)
        of_scores.scatter_(1, index, (of_true * by_plain)[:, None])
        of_lengths = of_true * by_lengths  # (N,)
        along = weight.index_select(0, labels)  # (N, D)
        along *= (of_lengths * (length / scale.squeeze(1)) / own_length.clamp_min(tiny))[:, None]
        of_weight = (of_scores.T @ features).index_add_(0, labels, along)  # (K, D)
        length = length.masked_fill(length == 0, math.inf)
        along = features * scale * (of_lengths * own_length / length)[:, None]
        return along.addmm_(of_scores, weight), None, of_weight, None, None


def large_margin_cross_entropy(
    features: Tensor, labels: Tensor, weight: Tensor, margin: int, beta: Tensor
) -> Tensor:
    """Mean cross-entropy of scores w_k^T x, whose true class has its angle multiplied.

    Args:
        features: (N, D). A zero vector has the score 0 everywhere, and a finite gradient.
        labels: (N,)
        weight: (K, D)
        margin: m, 1 to 4.
        beta: Scalar, >= 0; gets no gradient.

    Returns:
        Scalar. Differentiable once.
    """
    if margin == 1:  # psi is the cosine
        return F.cross_entropy(features @ weight.T, labels)
    loss: Tensor = _MarginCrossEntropy.apply(features, labels, weight, beta, margin)[0]  # type: ignore[no-untyped-call]
    return loss


def annealed_beta(
    progress: float, *, start: float, gamma: float, power: float, floor: float
) -> float:
    """max(floor, start * (1 + gamma * progress)^-power)."""
    return max(floor, start * math.pow(1 + gamma * progress, -power))


@LOSSES.register("l_softmax", reference="Liu et al., ICML 2016")
class LargeMarginSoftmaxHead(LinearHead):
    """Large-margin softmax loss: cross-entropy whose true class has its angle multiplied.

    f_k = w_k^T x = ||w_k|| ||x|| cos theta_k  for k != z
    f_z = (beta w_z^T x + ||w_z|| ||x|| psi(theta_z)) / (1 + beta)
    psi(theta) = (-1)^q cos(m theta) - 2q  for theta in [q pi/m, (q+1) pi/m]
    L = -1/N sum_i log softmax(f(x_i))_{z_i}

    beta falls during training, from where the loss is softmax's to where the margin is whole:
    beta = max(beta_min, beta_start * (1 + beta_gamma * progress)^-beta_power). With the defaults
    it is 1000 at the beginning, 16 after a quarter, 0.4 after half and 0.0007 at the end.

    Args:
        num_classes: K.
        feature_dim: D.
        margin: m, 1 to 4. 1 is softmax without bias.
        beta_start: beta at the beginning, >= 0. 0: the whole margin from the first step.
        beta_min: Where beta stops falling, >= 0; the authors advise 5 or 10 for data sets that
            are large and difficult.
        beta_gamma: >= 0. 0: beta is constant.
        beta_power: >= 0.

    Terms:
        cross_entropy: The mean over the batch, of the scores with margin.

    Reference:
        Liu, Wen, Yu, Yang: Large-Margin Softmax Loss for Convolutional Neural Networks.
        ICML 2016.

    Deviations:
        - beta is a function of the training's progress, not of iterations, so that short and
          long trainings see the same course. The form and the defaults are the released code's,
          base 1000, gamma 2.5e-5 an iteration, power 35, with its gamma over 20,000 iterations.
        - The paper bounds m by nothing; the released code too has 1 to 4.
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
    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        weight = self.linear.weight
        loss = large_margin_cross_entropy(features, labels, weight, self.margin, self.beta)
        return {"cross_entropy": loss}

    def schedules(self) -> Mapping[str, Callable[[float], float]]:
        return {"beta": self._beta_at}
