"""Large-margin Gaussian mixture loss (L-GM); with alpha = 0 it is the GM loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from lossbench.losses.base import (
    LOSSES,
    DensityHead,
    ParameterGroup,
    ScoreHead,
    TermsAndScores,
    in_float32,
)
from lossbench.losses.functional import true_class_log_odds
from lossbench.losses.gaussian import (
    class_scores,
    labelled_scores,
    log_density,
    true_class_distance,
)
from lossbench.losses.lgm_autograd import mixture_terms


def stepped_alpha(
    progress: float, *, start: float, factor: float, every: float, limit: float
) -> float:
    """alpha = min(limit, start * factor^floor(progress / every)).

    Args:
        progress: Completed steps divided by all steps, in [0, 1).
        start: alpha at the beginning, > 0. If it is not below `limit`, alpha is constant.
        factor: Factor of each step, >= 1.
        every: Time between two steps as a fraction of the training, in (0, 1].
        limit: Final alpha, >= 0.
    """
    if start >= limit:
        return limit
    steps = math.floor(progress / every + 1e-9)  # 0.3 / 0.1 is 2.9999999999999996
    if math.log(start) + steps * math.log(factor) >= math.log(limit):  # the power may overflow
        return limit
    return min(start * factor**steps, limit)


@LOSSES.register(
    "lgm",
    reference="Wan et al., CVPR 2018",
    title="L-GM",
    symbols={"alpha": r"\alpha", "lambda": r"\lambda"},
)
class GaussianMixtureHead(ScoreHead, DensityHead):
    """Large-margin Gaussian mixture loss: each class is a Gaussian in feature space.

    L = -1/N sum_i log[ |Lambda_z|^-1/2 e^(-d_z (1 + alpha))
                        / sum_k |Lambda_k|^-1/2 e^(-d_k (1 + 1(k=z) alpha)) ]
        + lambda/N sum_i (d_z + 1/2 log|Lambda_z|)
    d_k = 1/2 (x_i - mu_k)^T Lambda_k^-1 (x_i - mu_k),  z = z_i  (Eqs. 17 and 18)

    The priors are equal, p(k) = 1/K. The margin is part of `terms`, `log_odds` and `margin_scores`,
    not of `logits` and `class_log_density`.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        alpha: Margin, >= 0; with `alpha_start` its final value. 0 gives the GM loss.
        lambda_: Weight of the likelihood term, >= 0.
        covariance: Form of Lambda_k: `identity`, fixed; or `diagonal`, learned as log-variances
            that start at 0.
        alpha_start: Margin at the beginning, > 0. With None, or if it is not below `alpha`, the
            margin is constant.
        alpha_factor: Factor of the margin at each step of its growth, >= 1.
        alpha_every: Time between two steps as a fraction of the training, in (0, 1].
        mean_lr_scale: Learning rate of the means relative to the recipe's, > 0.

    Terms:
        classification: Mean of the classification term over the batch.
        likelihood: `lambda` times the mean of the likelihood term over the batch.

    Reference:
        Wan, Zhong, Li, Chen: Rethinking Feature Distribution for Loss Functions in Image
        Classification. CVPR 2018, Eqs. 4-23.

    Deviations:
        - Both terms are averaged over the batch, as in Eq. 17 and the released code; Eqs. 8-10
          sum the likelihood over the samples, which would tie lambda to the batch size.
        - The constant (D/2) log 2 pi of the likelihood is left out, as in Eq. 17.
        - Variances are learned as logarithms, so that they stay positive whatever the optimizer
          does. Weight decay does not apply to the logarithms, because it would pull every
          variance to 1.
        - alpha is constant without `alpha_start`. The released code increases it in steps:
          `alpha=0.3, alpha_start=0.1, alpha_factor=2, alpha_every=1/24` for CIFAR-100,
          `alpha=1, alpha_start=0.001, alpha_factor=10, alpha_every=0.075` for MNIST. Where
          features are large and means small at the beginning, as in residual networks at a
          learning rate of 0.1, a constant 0.3 draws features and means to 0 within about twenty
          steps, where they stay; 0.1 does not.
        - The gradients are the derivatives of Eq. 17. Those of the paper (Eqs. 19-23) agree if p_k
          is the posterior of Eq. 17, margin included, instead of that of Eq. 6; if C_k in Eq. 21
          is C_z; and if Eqs. 21 and 22 are equations of diagonals.
        - Means are initialised Xavier-uniform and have the recipe's learning rate, the same for
          each data set; the released code has Kaiming (MSRA) and twice the rate for CIFAR-100,
          Xavier and 0.3 times the rate for MNIST.
    """

    verification_distance = "mahalanobis"  # after PCA, Sect. 4.2
    alpha: Tensor
    log_variance: nn.Parameter | None

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        alpha: Annotated[float, Field(ge=0)] = 0.1,
        lambda_: Annotated[float, Field(ge=0)] = 0.1,
        covariance: Literal["identity", "diagonal"] = "identity",
        alpha_start: Annotated[float | None, Field(gt=0)] = None,
        alpha_factor: Annotated[float, Field(ge=1)] = 2.0,
        alpha_every: Annotated[float, Field(gt=0, le=1)] = 0.05,
        mean_lr_scale: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.lambda_ = lambda_
        self.mean_lr_scale = mean_lr_scale
        self._alpha_at: Callable[[float], float] | None = None
        if alpha_start is not None:
            self._alpha_at = partial(
                stepped_alpha,
                start=alpha_start,
                factor=alpha_factor,
                every=alpha_every,
                limit=alpha,
            )
            alpha = self._alpha_at(0.0)
        self.register_buffer("alpha", torch.tensor(float(alpha)))
        self.means = nn.Parameter(torch.empty(num_classes, feature_dim))
        nn.init.xavier_uniform_(self.means)
        if covariance == "diagonal":
            self.log_variance = nn.Parameter(torch.zeros(num_classes, feature_dim))
        else:
            self.log_variance = None

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        classification, likelihood, scores = mixture_terms(
            features, labels, self.means, self.log_variance, self.alpha
        )
        terms = {"classification": classification, "likelihood": self.lambda_ * likelihood}
        return terms, scores

    @in_float32
    def logits(self, features: Tensor) -> Tensor:
        return class_scores(features, self.means, self.log_variance)  # (N, K)

    @in_float32
    def log_odds(self, features: Tensor, labels: Tensor) -> Tensor:
        """Log-odds (N,) of the true class as in the classification term, margin included."""
        scores = labelled_scores(features, labels, self.means, self.log_variance)  # (N, K)
        distance = true_class_distance(features, labels, self.means, self.log_variance)  # (N,)
        return true_class_log_odds(scores, labels) - self.alpha * distance  # (N,)

    @in_float32
    def margin_scores(self, features: Tensor, labels: Tensor) -> Tensor:
        """-d_k (1 + 1(k=z) alpha) - 1/2 log|Lambda_k| (N, K), minus (D/2) log 2 pi."""
        distance = true_class_distance(features, labels, self.means, self.log_variance)  # (N,)
        margin = (-self.alpha * distance)[:, None]  # (N, 1)
        return self.class_log_density(features).scatter_add(1, labels[:, None], margin)

    @in_float32
    def class_log_density(self, features: Tensor) -> Tensor:
        return log_density(features, self.means, self.log_variance)  # (N, K)

    @property
    def class_means(self) -> Tensor:
        return self.means.detach()

    def parameter_groups(self) -> list[ParameterGroup]:
        groups = [ParameterGroup((self.means,), lr_scale=self.mean_lr_scale)]
        if self.log_variance is not None:
            groups.append(ParameterGroup((self.log_variance,), decay=False))
        return groups

    def schedules(self) -> Mapping[str, Callable[[float], float]]:
        return {} if self._alpha_at is None else {"alpha": self._alpha_at}
