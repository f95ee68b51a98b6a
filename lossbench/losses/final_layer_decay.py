"""Softmax cross-entropy with an extra L2 penalty on the weights of the last layer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.linear import LinearHead


@LOSSES.register(
    "final_layer_decay",
    reference="Kornblith et al., NeurIPS 2021",
    title="Extra final-layer L2",
    symbols={"lambda": r"\lambda"},
)
class FinalLayerDecayHead(ScoreHead, LinearHead):
    """Softmax loss plus the squared norm of the weights of the linear layer, without its bias.

    L = -1/N sum_i log softmax(W x_i + b)_{z_i} + lambda/2 * ||W||_F^2

    The penalty comes on top of the recipe's weight decay: with SGD, W is decayed by the sum of
    both.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        lambda: Weight of the penalty, >= 0. 0 gives the softmax loss.

    Terms:
        cross_entropy: Mean cross-entropy of the batch.
        l2: `lambda` times half the sum of the squared weights.

    Reference:
        Kornblith, Chen, Lee, Norouzi: Why Do Better Loss Functions Lead to Less Transferable
        Features? NeurIPS 2021. The default is its value for ImageNet, ten times the weight decay of
        its other layers.

    Deviations: none known. The factor 1/2 is that of the authors' code.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        lambda_: Annotated[float, Field(ge=0)] = 8e-4,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.lambda_ = lambda_

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.linear(features)  # (N, K)
        terms = {
            "cross_entropy": F.cross_entropy(scores, labels),
            "l2": 0.5 * self.lambda_ * self.linear.weight.square().sum(),
        }
        return terms, scores
