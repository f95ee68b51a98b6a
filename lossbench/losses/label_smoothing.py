"""Label smoothing: cross-entropy with softened labels."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
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
    "label_smoothing",
    reference="Szegedy et al., CVPR 2016",
    title="Label smoothing",
    symbols={"smoothing": r"\epsilon", "class_balanced_beta": r"\beta"},
)
class LabelSmoothingHead(ScoreHead, WeightedLinearHead):
    """Softmax loss with smoothed labels: a share of each label is spread over all classes.

    L = -1/N sum_i w_{z_i} sum_k ((1 - e) 1(k=z_i) + e/K) log softmax(W x_i + b)_k

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        smoothing: Share e to spread, in [0, 1). 0 gives the softmax loss.
        class_weights: w, by which the losses of the images of each class are multiplied.
            `balanced`: n / (K n_k), where n_k of the n training images are of class k.
            `class_balanced`: proportional to (1 - beta) / (1 - beta^n_k), with sum K (Cui et al.,
            CVPR 2019). Or a list of the K weights, in (0, 1e6]. Null: 1 for each class.
        class_balanced_beta: beta of `class_balanced`, in [0, 1). 0 gives equal weights.

    Terms:
        cross_entropy: Mean weighted cross-entropy of the batch with the smoothed labels.

    Reference:
        Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture for
        Computer Vision. CVPR 2016, Section 7.

    Deviations:
        - None in the labels: as in the paper, the true class receives a part of the spread share,
          too.
        - Class weights are not in the paper. The weight is that of the image's class, where
          torch's `cross_entropy` gives each part of a smoothed label the weight of its class. As
          in the code of Cui et al., the weighted losses are averaged over the images; they are
          not divided by the sum of the weights.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        class_weights: Annotated[ClassWeights, OMIT_DEFAULT] = None,
        class_balanced_beta: Annotated[EffectiveNumberBeta, OMIT_DEFAULT] = DEFAULT_BETA,
    ) -> None:
        super().__init__(
            num_classes,
            feature_dim,
            "label_smoothing",
            class_weights=class_weights,
            class_balanced_beta=class_balanced_beta,
        )
        self.smoothing = smoothing

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.linear(features)  # (N, K)
        weights = self.weight_of_classes()
        loss = weighted_cross_entropy(scores, labels, weights, smoothing=self.smoothing)
        return {"cross_entropy": loss}, scores
