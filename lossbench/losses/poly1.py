"""Poly-1: cross-entropy with another coefficient of the first term of its series in 1 - p."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.functional import true_class_error, true_class_log_odds
from lossbench.losses.linear import LinearHead


@LOSSES.register(
    "poly1",
    reference="Leng et al., ICLR 2022",
    title="Poly-1",
    symbols={"epsilon": r"\epsilon_1"},
)
class Poly1Head(ScoreHead, LinearHead):
    """Poly-1: softmax loss plus a multiple of 1 - p, the probability of all wrong classes.

    L = 1/N sum_i (-log p_i + epsilon (1 - p_i))
    p_i = softmax(W x_i + b)_{z_i}

    Cross-entropy is the series sum_j (1 - p)^j / j. Poly-1 changes the coefficient of its first
    term from 1 to 1 + epsilon, and with it the gradient where p is nearly 1.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        epsilon: Change of the first coefficient, >= -1. 0 gives the softmax loss.

    Terms:
        cross_entropy: Mean cross-entropy of the batch.
        polynomial: `epsilon` times the mean of 1 - p.

    Reference:
        Leng, Tan, Liu, Cubuk, Shi, Cheng, Anguelov: PolyLoss: A Polynomial Expansion Perspective of
        Classification Loss Functions. ICLR 2022.

    Deviations: none. The default of epsilon is the paper's for ImageNet; the paper recommends
        choosing epsilon for each task.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        epsilon: Annotated[float, Field(ge=-1)] = 2.0,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.epsilon = epsilon

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.linear(features)  # (N, K)
        log_odds = true_class_log_odds(scores, labels)  # (N,)
        terms = {
            "cross_entropy": -F.logsigmoid(log_odds).mean(),
            "polynomial": self.epsilon * true_class_error(log_odds).mean(),
        }
        return terms, scores
