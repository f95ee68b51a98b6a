"""Symmetric cross-entropy: cross-entropy plus reverse cross-entropy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.errors import ParameterError, Problem
from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.functional import true_class_error, true_class_log_odds
from lossbench.losses.linear import LinearHead


def reverse_cross_entropy(log_odds: Tensor, log_zero: float) -> Tensor:
    """Mean of -sum_k p_k log q_k, with the one-hot labels q and a finite value A for log 0.

    As log q_z = 0 and all other log q_k = A, this is -A (1 - p_z).

    Args:
        log_odds: (N,) Log-odds of the true class.
        log_zero: A, < 0.

    Returns:
        Scalar.
    """
    return -log_zero * true_class_error(log_odds).mean()


def require_positive_sum(name: str, alpha: float, beta: float) -> None:
    """Refuse two terms whose weights are both 0.

    Raises:
        ParameterError: They are.
    """
    if alpha == 0 and beta == 0:
        problem = Problem(("alpha",), "should not be 0 if beta is 0: nothing would be trained")
        raise ParameterError(name, [problem])


@LOSSES.register(
    "sce",
    reference="Wang et al., ICCV 2019",
    title="Symmetric cross-entropy",
    symbols={"alpha": r"\alpha", "beta": r"\beta", "log_zero": "A"},
)
class SymmetricCrossEntropyHead(ScoreHead, LinearHead):
    """Symmetric cross-entropy: weighted sum of cross-entropy and reverse cross-entropy.

    L = alpha CE + beta RCE
    CE = -1/N sum_i log p_{i z_i}
    RCE = -1/N sum_i sum_k p_ik log q_ik = -A/N sum_i (1 - p_{i z_i})
    p_i = softmax(W x_i + b)

    q_i are the one-hot labels, in which log 0 is replaced by A. With symmetric label noise, the
    expectation of RCE has the same minimum as without noise.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        alpha: Weight of cross-entropy, >= 0.
        beta: Weight of reverse cross-entropy, >= 0.
        log_zero: A, the value for log 0, < 0. The loss depends on `beta` and A only through their
            product.

    Terms:
        cross_entropy: `alpha` times the mean cross-entropy of the batch.
        reverse_cross_entropy: `beta` times the mean reverse cross-entropy.

    Reference:
        Wang, Ma, Chen, Luo, Yi, Bailey: Symmetric Cross Entropy for Robust Learning with Noisy
        Labels. ICCV 2019.

    Deviations: none. The authors' code, and that of Ma et al. (ICML 2020), clips the labels at 1e-4
        instead of setting A; this equals log_zero = log 1e-4 = -9.21.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        alpha: Annotated[float, Field(ge=0)] = 0.1,
        beta: Annotated[float, Field(ge=0)] = 1.0,
        log_zero: Annotated[float, Field(lt=0)] = -4.0,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        require_positive_sum("sce", alpha, beta)
        self.alpha = alpha
        self.beta = beta
        self.log_zero = log_zero

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.linear(features)  # (N, K)
        log_odds = true_class_log_odds(scores, labels)  # (N,)
        terms = {
            "cross_entropy": -self.alpha * F.logsigmoid(log_odds).mean(),
            "reverse_cross_entropy": self.beta * reverse_cross_entropy(log_odds, self.log_zero),
        }
        return terms, scores
