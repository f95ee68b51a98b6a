"""Squared error: regression of the one-hot labels."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, in_float32
from lossbench.losses.linear import LinearHead


def squared_error(scores: Tensor, labels: Tensor, kappa: float, target: float) -> Tensor:
    """Mean over classes and batch of the squared error, weighted by kappa for the true class.

    Args:
        scores: (N, K)
        labels: (N,), in [0, K).
        kappa: Weight of the true class, > 0.
        target: Target score of the true class, > 0; that of the other classes is 0.

    Returns:
        Scalar.
    """
    index = labels[:, None]  # (N, 1)
    own = scores.gather(1, index).squeeze(1)  # (N,)
    others = scores.scatter(1, index, 0.0)  # (N, K)
    errors = kappa * (own - target).square() + others.square().sum(1)  # (N,)
    return errors.mean() / scores.shape[1]


@LOSSES.register(
    "squared_error",
    reference="Hui & Belkin, ICLR 2021; Kornblith et al., NeurIPS 2021",
    title="Squared error",
    symbols={"kappa": r"\kappa", "target": "M"},
)
class SquaredErrorHead(ScoreHead, LinearHead):
    """Squared error between the class scores and the one-hot label times M.

    L = scale/(N K) sum_i [ kappa (f_{z_i} - M)^2 + sum_{k != z_i} f_k^2 ]
    f = W x_i + b

    The softmax of f is not a posterior: f estimates kappa p M / (kappa p + 1 - p) for a class of
    probability p. Only the order of the scores is meaningful.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        kappa: Weight of the true class, > 0.
        target: M, target score of the true class, > 0.
        scale: Factor of the whole loss, > 0.

    Terms:
        squared_error: `scale` times the mean over batch and classes.

    Reference:
        Hui, Belkin: Evaluation of Neural Architectures Trained with Square Loss vs Cross-Entropy
        in Classification Tasks. ICLR 2021.
        Kornblith, Chen, Lee, Norouzi: Why Do Better Loss Functions Lead to Less Transferable
        Features? NeurIPS 2021.

    Deviations:
        - The defaults are the plain squared error, which Hui & Belkin use for up to 42 classes.
          The values for ImageNet are kappa 15 and M 30 there, and kappa 9, M 60 and scale 10 in
          Kornblith et al.; with few classes, gradients are then so large (proportional to
          scale * kappa * M / K) that training diverges at usual learning rates.
        - The mean over the classes, as in Hui & Belkin; the code released by Kornblith et al. has
          the sum. For the same loss as there, multiply `scale` by K.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        kappa: Annotated[float, Field(gt=0)] = 1.0,
        target: Annotated[float, Field(gt=0)] = 1.0,
        scale: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.kappa, self.target, self.scale = kappa, target, scale

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.linear(features)  # (N, K)
        error = squared_error(scores, labels, self.kappa, self.target)
        return {"squared_error": self.scale * error}, scores
