"""Normalised cross-entropy plus reverse cross-entropy: an active and a passive loss."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.functional import true_class_log_odds
from lossbench.losses.linear import LinearHead
from lossbench.losses.sce import require_positive_sum, reverse_cross_entropy


def normalised_cross_entropy(scores: Tensor, log_odds: Tensor) -> Tensor:
    """Mean of log p_z / sum_k log p_k: cross-entropy divided by its sum over all labels.

    Args:
        scores: (N, K)
        log_odds: (N,) Log-odds of the true class.

    Returns:
        Scalar, in [0, 1].
    """
    of_all_labels = scores.log_softmax(1).sum(1)  # (N,) At most -K log K
    return (F.logsigmoid(log_odds) / of_all_labels).mean()


@LOSSES.register(
    "nce_rce",
    reference="Ma et al., ICML 2020",
    title="NCE+RCE",
    symbols={"alpha": r"\alpha", "beta": r"\beta", "log_zero": "A"},
)
class ActivePassiveHead(ScoreHead, LinearHead):
    """NCE+RCE: weighted sum of normalised and reverse cross-entropy.

    L = alpha NCE + beta RCE
    NCE = 1/N sum_i log p_{i z_i} / sum_k log p_ik
    RCE = -A/N sum_i (1 - p_{i z_i})
    p_i = softmax(W x_i + b)

    Both terms are robust to symmetric noise. NCE is active: it raises the probability of the label.
    Alone it underfits, because a larger denominator lowers it as well. RCE is passive: it lowers
    the probabilities of the other classes.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        alpha: Weight of the active term, >= 0.
        beta: Weight of the passive term, >= 0.
        log_zero: A, the value for log 0 in RCE, < 0. With -2, RCE is the mean absolute error, and
            the loss is the paper's NCE+MAE.

    Terms:
        active: `alpha` times the normalised cross-entropy.
        passive: `beta` times the reverse cross-entropy.

    Reference:
        Ma, Huang, Wang, Romano, Erfani, Bailey: Normalized Loss Functions for Deep Learning with
        Noisy Labels. ICML 2020.

    Deviations:
        - The default of A is -4, as in the paper of RCE (Wang et al., ICCV 2019); the authors'
          code clips labels at 1e-4, which corresponds to log_zero -9.21. alpha and beta are
          theirs for CIFAR-10 (for MNIST beta 10, for CIFAR-100 alpha 10 and beta 0.1).
        - The authors' code of NCE+MAE has 1 - p instead of 2 (1 - p), so `beta` with log_zero -2
          is half of theirs.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        alpha: Annotated[float, Field(ge=0)] = 1.0,
        beta: Annotated[float, Field(ge=0)] = 1.0,
        log_zero: Annotated[float, Field(lt=0)] = -4.0,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        require_positive_sum("nce_rce", alpha, beta)
        self.alpha = alpha
        self.beta = beta
        self.log_zero = log_zero

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.linear(features)  # (N, K)
        log_odds = true_class_log_odds(scores, labels)  # (N,)
        terms = {
            "active": self.alpha * normalised_cross_entropy(scores, log_odds),
            "passive": self.beta * reverse_cross_entropy(log_odds, self.log_zero),
        }
        return terms, scores
