"""Logit penalty: softmax cross-entropy with small class scores."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.linear import LinearHead


@LOSSES.register(
    "logit_penalty",
    reference="Kornblith et al., NeurIPS 2021",
    title="Logit penalty",
    symbols={"beta": r"\beta"},
)
class LogitPenaltyHead(ScoreHead, LinearHead):
    """Softmax loss plus the squared norm of the class scores.

    L = -1/N sum_i log softmax(f_i)_{z_i} + beta/2 * 1/N sum_i ||f_i||^2
    f_i = W x_i + b

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        beta: Weight of the penalty, >= 0. 0 gives the softmax loss.

    Terms:
        cross_entropy: Mean cross-entropy of the batch.
        penalty: `beta` times half the mean squared norm of the class scores.

    Reference:
        Kornblith, Chen, Lee, Norouzi: Why Do Better Loss Functions Lead to Less Transferable
        Features? NeurIPS 2021. The default is its value for ImageNet.

    Deviations: none known. The factor 1/2 is that of the authors' code.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        beta: Annotated[float, Field(ge=0)] = 6e-4,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.beta = beta

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.linear(features)  # (N, K)
        terms = {
            "cross_entropy": F.cross_entropy(scores, labels),
            "penalty": 0.5 * self.beta * scores.square().sum(1).mean(),
        }
        return terms, scores
