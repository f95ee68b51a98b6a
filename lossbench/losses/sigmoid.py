"""Sigmoid cross-entropy: one binary classification per class."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.linear import LinearHead


def binary_cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of one-hot labels, summed over the classes, averaged over the batch.

    -log sigma(s) = softplus(-s) and -log(1 - sigma(s)) = softplus(s), without 1 - sigma(s) as a
    difference, which would be 0 where sigma(s) is nearly 1.

    Args:
        scores: (N, K)
        labels: (N,), in [0, K).

    Returns:
        Scalar.
    """
    sign = torch.ones_like(scores).scatter(1, labels[:, None], -1.0)  # (N, K)
    return F.softplus(sign * scores).sum(1).mean()


@LOSSES.register(
    "sigmoid", reference="Kornblith et al., NeurIPS 2021", title="Sigmoid cross-entropy"
)
class SigmoidHead(ScoreHead, LinearHead):
    """Sigmoid cross-entropy: a binary cross-entropy for each class, one class against the rest.

    L = -1/N sum_i [ log sigma(f_{z_i}) + sum_{k != z_i} log(1 - sigma(f_k)) ]
    f = W x_i + b - log K

    The softmax of f is the posterior of independent binary classifiers, given that exactly one of
    them is positive: p(k) ~ sigma(f_k) prod_{j != k} (1 - sigma(f_j)) ~ e^{f_k}.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.

    Terms:
        binary_cross_entropy: Mean over the batch of the sum over the classes.

    Reference:
        Kornblith, Chen, Lee, Norouzi: Why Do Better Loss Functions Lead to Less Transferable
        Features? NeurIPS 2021.

    Deviations: none known. As in the authors' code, the first predictions are near 1/K by the
        constant -log K with a bias b that starts at 0, so that weight decay does not move them.
    """

    def __init__(self, num_classes: int, feature_dim: int) -> None:
        super().__init__(num_classes, feature_dim)
        nn.init.zeros_(self.linear.bias)

    @in_float32
    def logits(self, features: Tensor) -> Tensor:
        scores: Tensor = self.linear(features) - math.log(self.num_classes)  # (N, K)
        return scores

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.logits(features)  # (N, K)
        return {"binary_cross_entropy": binary_cross_entropy(scores, labels)}, scores
