"""Logit adjustment: class scores are shifted by the log-prior of the training set."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.class_counts import PriorHead


@LOSSES.register(
    "logit_adjustment",
    reference="Menon et al., ICLR 2021",
    title="Logit adjustment",
    symbols={"tau": r"\tau"},
)
class LogitAdjustmentHead(ScoreHead, PriorHead):
    """Logit-adjusted loss: cross-entropy of scores to which the scaled log-prior is added.

    L = -1/N sum_i log softmax(W x_i + b + tau log pi)_{z_i}

    pi_k is the share of class k in the training set. The model predicts with W x + b alone, which
    minimises the balanced error if tau = 1. With tau = 1 it is `balanced_softmax`; with tau = 0 it
    is the softmax loss.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        tau: Factor of the log-prior, in [0, 100].

    Terms:
        cross_entropy: Mean cross-entropy of the batch, of the scores with the log-prior.

    Reference:
        Menon, Jayasumana, Rawat, Jain, Veit, Kumar: Long-Tail Learning via Logit Adjustment.
        ICLR 2021, Eq. 10.

    Deviations: only the loss; the paper's post-hoc adjustment changes a trained softmax instead.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        tau: Annotated[float, Field(ge=0, le=100)] = 1.0,
    ) -> None:
        super().__init__(num_classes, feature_dim, "logit_adjustment")
        self.tau = tau

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.linear(features)  # (N, K)
        return {"cross_entropy": F.cross_entropy(self.with_prior(scores, self.tau), labels)}, scores
