"""Cosine softmax: cosine similarities divided by a temperature, without margin."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.functional import unit_vectors


@LOSSES.register(
    "cosine_softmax",
    reference="Kornblith et al., NeurIPS 2021",
    title="Cosine softmax",
    symbols={"tau": r"\tau"},
)
class CosineSoftmaxHead(ScoreHead):
    """Cosine softmax: softmax loss on cosines between features and class weights.

    L = -1/N sum_i log softmax((cos theta_i + b) / tau)_{z_i}
    cos theta_ik = w_k^T x_i / (||w_k|| ||x_i||)

    Without b it is `cosface` with margin 0 and scale 1 / tau.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        tau: Temperature, > 0.

    Terms:
        cross_entropy: Mean cross-entropy of the batch.

    Reference:
        Kornblith, Chen, Lee, Norouzi: Why Do Better Loss Functions Lead to Less Transferable
        Features? NeurIPS 2021. The default is its value for ImageNet.

    Deviations:
        - Weights are initialised Glorot-uniform instead of normal with standard deviation 0.01.
          Only their directions change the loss, but their norms scale the gradients. b starts at
          0.
        - Features are divided by their norm, as in the paper; the released code divides only the
          weights.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        tau: Annotated[float, Field(gt=0)] = 0.05,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.tau = tau
        self.weight = nn.Parameter(torch.empty(num_classes, feature_dim))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        nn.init.xavier_uniform_(self.weight)

    @in_float32
    def logits(self, features: Tensor) -> Tensor:
        cosines = unit_vectors(features) @ unit_vectors(self.weight).T  # (N, K)
        return (cosines + self.bias) / self.tau

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.logits(features)  # (N, K)
        return {"cross_entropy": F.cross_entropy(scores, labels)}, scores
