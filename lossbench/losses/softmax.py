"""Softmax cross-entropy, the reference row of the shipped suites."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.class_counts import (
    DEFAULT_BETA,
    ClassWeights,
    EffectiveNumberBeta,
    WeightedLinearHead,
    weighted_cross_entropy,
)
from lossbench.registry import OMIT_DEFAULT


@LOSSES.register(
    "softmax",
    reference="Wan et al., CVPR 2018, Eqs. 1-2",
    title="Softmax",
    symbols={"class_balanced_beta": r"\beta"},
)
class SoftmaxHead(ScoreHead, WeightedLinearHead):
    """Softmax loss: a linear layer and cross-entropy.

    L = -1/N sum_i w_{z_i} log softmax(W x_i + b)_{z_i}

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        class_weights: w, by which the losses of the images of each class are multiplied.
            `balanced`: n / (K n_k), where n_k of the n training images are of class k.
            `class_balanced`: proportional to (1 - beta) / (1 - beta^n_k), with sum K (Cui et al.,
            CVPR 2019). Or a list of the K weights, in (0, 1e6]. Null: 1 for each class.
        class_balanced_beta: beta of `class_balanced`, in [0, 1). 0 gives equal weights.

    Terms:
        cross_entropy: Mean weighted cross-entropy of the batch.

    Reference:
        Wan, Zhong, Li, Chen: Rethinking Feature Distribution for Loss Functions in Image
        Classification. CVPR 2018, Eqs. 1-2.

    Deviations:
        - Class weights are not in the paper. As in the code of Cui et al., the weighted
          losses are averaged over the images; they are not divided by the sum of the weights, as
          torch's `cross_entropy` does.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        class_weights: Annotated[ClassWeights, OMIT_DEFAULT] = None,
        class_balanced_beta: Annotated[EffectiveNumberBeta, OMIT_DEFAULT] = DEFAULT_BETA,
    ) -> None:
        super().__init__(
            num_classes,
            feature_dim,
            "softmax",
            class_weights=class_weights,
            class_balanced_beta=class_balanced_beta,
        )

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.linear(features)  # (N, K)
        weights = self.weight_of_classes()
        return {"cross_entropy": weighted_cross_entropy(scores, labels, weights)}, scores
