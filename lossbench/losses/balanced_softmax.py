"""Balanced softmax: cross-entropy with class counts in the softmax, for long-tailed data."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.class_counts import PriorHead


@LOSSES.register("balanced_softmax", reference="Ren et al., NeurIPS 2020", title="Balanced softmax")
class BalancedSoftmaxHead(ScoreHead, PriorHead):
    """Balanced softmax: in training, the exponential of a class's score is multiplied by its count.

    L = -1/N sum_i log[ n_{z_i} e^(f_{z_i}) / sum_k n_k e^(f_k) ]
    f = W x_i + b

    n_k is the number of training images of class k. The model predicts with f alone, so
    softmax(f) is the posterior for classes that are equally frequent. It is `logit_adjustment` with
    tau = 1: n_k and the share n_k / n give the same softmax.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.

    Terms:
        cross_entropy: Mean cross-entropy of the batch, of the scores with the log-prior.

    Reference:
        Ren, Yu, Sheng, Ma, Zhao, Yi, Li: Balanced Meta-Softmax for Long-Tailed Visual
        Recognition. NeurIPS 2020, Section 3.

    Deviations: only the loss; the paper's meta sampler is another way to draw batches.
    """

    def __init__(self, num_classes: int, feature_dim: int) -> None:
        super().__init__(num_classes, feature_dim, "balanced_softmax")

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.linear(features)  # (N, K)
        return {"cross_entropy": F.cross_entropy(self.with_prior(scores), labels)}, scores
