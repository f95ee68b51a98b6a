"""Generalised cross-entropy: between cross-entropy and the mean absolute error."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.functional import true_class_log_odds
from lossbench.losses.linear import LinearHead

NEGLIGIBLE_Q = 1e-30
"""Exponent below which the loss is cross-entropy in every floating-point type."""


def generalised_cross_entropy(scores: Tensor, labels: Tensor, q: float) -> Tensor:
    """Mean of (1 - p_z^q) / q, smooth and exact where p_z is nearly 0 or nearly 1.

    With the cross-entropy c = -log p_z: 1 - p_z^q = -expm1(-q c), whose gradient, the power p_z^q,
    would be a difference of nearly equal numbers where p_z is small; there it is 1 - exp(-q c).

    Args:
        scores: (N, K)
        labels: (N,), in [0, K).
        q: Exponent, in [0, 1]; 0 is the limit, cross-entropy.

    Returns:
        Scalar.
    """
    cross_entropy = -F.logsigmoid(true_class_log_odds(scores, labels))  # (N,)
    if q < NEGLIGIBLE_Q:
        return cross_entropy.mean()
    exponent = -q * cross_entropy  # (N,)
    error = torch.where(exponent > -0.5, -exponent.expm1(), 1 - exponent.exp())  # (N,)
    return error.mean() / q


@LOSSES.register(
    "gce",
    reference="Zhang & Sabuncu, NeurIPS 2018",
    title="Generalised cross-entropy",
    symbols={"q": "q"},
)
class GeneralisedCrossEntropyHead(ScoreHead, LinearHead):
    """Generalised cross-entropy: images whose label has a low probability have less weight.

    L = 1/N sum_i (1 - p_i^q) / q
    p_i = softmax(W x_i + b)_{z_i}

    Its gradient is that of cross-entropy times p_i^q. It lies between cross-entropy (q -> 0), which
    fits wrong labels in the end, and the mean absolute error (q = 1, up to a factor of 2), which
    is robust to symmetric noise and hard to train.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        q: Exponent, in [0, 1]. 0 is the limit, which is the softmax loss.

    Terms:
        gce: Mean of the loss over the batch.

    Reference:
        Zhang, Sabuncu: Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
        Labels. NeurIPS 2018, Eq. 6.

    Deviations:
        - Without the truncated version (Section 3.3), which leaves out images whose p is below a
          threshold. They are determined every few epochs by a pass over the training set with the
          best network so far, to which a loss has no access.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        q: Annotated[float, Field(ge=0, le=1)] = 0.7,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.q = q

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.linear(features)  # (N, K)
        return {"gce": generalised_cross_entropy(scores, labels, self.q)}, scores
