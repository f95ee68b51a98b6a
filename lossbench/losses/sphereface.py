"""SphereFace (A-Softmax): L-Softmax with class weights of unit length."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.functional import unit_vectors
from lossbench.losses.large_margin_softmax import annealed_beta, large_margin_cross_entropy


@LOSSES.register(
    "sphereface", reference="Liu et al., CVPR 2017", title="SphereFace", symbols={"margin": "m"}
)
class SphereFaceHead(ScoreHead):
    """SphereFace (A-Softmax): softmax loss with the angle to the true class multiplied by m.

    f_k = ||x|| cos theta_k  for k != z
    f_z = ||x|| (beta cos theta_z + psi(theta_z)) / (1 + beta)
    cos theta_k = w_k^T x / (||w_k|| ||x||)
    psi(theta) = (-1)^q cos(m theta) - 2q  for theta in [q pi/m, (q+1) pi/m]
    L = -1/N sum_i log softmax(f(x_i))_{z_i}

    It is `l_softmax` with class weights of unit length, so the class scores depend on the angles and
    the norm of the feature only. beta decreases during training:
    beta = max(beta_min, beta_start * (1 + beta_gamma * progress)^-beta_power). With the defaults it
    is 1000 at the beginning, and its smallest value, 5, from the middle of the training on.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        margin: m, from 1 to 4. 1 gives the softmax loss with weights of unit length, without bias.
        beta_start: beta at the beginning, >= 0. 0 applies the full margin from the first step.
        beta_min: Smallest beta, >= 0. With 0, the full margin at the end, training may stall.
        beta_gamma: Speed of the decrease, >= 0. 0 keeps beta constant.
        beta_power: Exponent of the decrease, >= 0.

    Terms:
        cross_entropy: Mean cross-entropy of the batch, of the scores with margin.

    Reference:
        Liu, Wen, Yu, Li, Raj, Song: SphereFace: Deep Hypersphere Embedding for Face Recognition.
        CVPR 2017. beta is lambda of the released code.

    Deviations:
        - beta is a function of the training's progress instead of the iteration, so that short and
          long trainings follow the same curve. Form, start, power and minimum are those of the
          released code. Its speed of 0.12 per iteration, over 28,000 iterations, is a `beta_gamma`
          of 3360: beta is 5 after 6 % of the training. In trainings of a few hundred iterations
          this is too early, and features can collapse to 0, so the default is slower.
        - m is limited to 4, the paper's value and the largest of the released code, because psi is
          written out for each m.
    """  # noqa: E501

    beta: Tensor

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        margin: Annotated[int, Field(ge=1, le=4)] = 4,
        beta_start: Annotated[float, Field(ge=0)] = 1000.0,
        beta_min: Annotated[float, Field(ge=0)] = 5.0,
        beta_gamma: Annotated[float, Field(ge=0)] = 400.0,
        beta_power: Annotated[float, Field(ge=0)] = 1.0,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.margin = margin
        self.weight = nn.Parameter(torch.empty(num_classes, feature_dim))
        nn.init.xavier_uniform_(self.weight)
        self._beta_at = partial(
            annealed_beta, start=beta_start, gamma=beta_gamma, power=beta_power, floor=beta_min
        )
        self.register_buffer("beta", torch.tensor(self._beta_at(0.0)))

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        directions = unit_vectors(self.weight)  # (K, D)
        loss, scores = large_margin_cross_entropy(
            features, labels, directions, self.margin, self.beta
        )
        return {"cross_entropy": loss}, scores

    @in_float32
    def logits(self, features: Tensor) -> Tensor:
        return features @ unit_vectors(self.weight).T  # (N, K)

    def schedules(self) -> Mapping[str, Callable[[float], float]]:
        return {"beta": self._beta_at}
