"""Logit normalisation: class scores of a fixed norm."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.functional import unit_vectors
from lossbench.losses.linear import LinearHead


@LOSSES.register(
    "logit_norm",
    reference="Kornblith et al., NeurIPS 2021",
    title="Logit normalisation",
    symbols={"tau": r"\tau"},
)
class LogitNormHead(ScoreHead, LinearHead):
    """Softmax loss on class scores that are divided by their norm and by a temperature.

    L = -1/N sum_i log softmax(f_i / (tau ||f_i||))_{z_i}
    f_i = W x_i + b

    LogitNorm of Wei et al. (ICML 2022), for the detection of out-of-distribution images, trains the
    same loss: its temperature t is `tau`, and 1e-7 is added to the norm. It differs at test time:
    the posterior of Kornblith et al., and of `logits` here, is that of the training, with the
    divided scores; Wei et al. take the softmax of the scores f themselves, whose norm depends on
    the image. The predicted classes are the same, calibration and confidences are not. Scores f
    for the detection are `head.linear(features)`; evaluations use the divided ones.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        tau: Temperature, > 0. Class scores are in [-1 / tau, 1 / tau].

    Terms:
        cross_entropy: Mean cross-entropy of the batch.

    Reference:
        Kornblith, Chen, Lee, Norouzi: Why Do Better Loss Functions Lead to Less Transferable
        Features? NeurIPS 2021. The default is its value for ImageNet.

    Deviations: none known.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        tau: Annotated[float, Field(gt=0)] = 0.04,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.tau = tau

    @in_float32
    def logits(self, features: Tensor) -> Tensor:
        return unit_vectors(self.linear(features)) / self.tau  # (N, K)

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.logits(features)  # (N, K)
        return {"cross_entropy": F.cross_entropy(scores, labels)}, scores
