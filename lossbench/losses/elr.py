"""Early-learning regularisation: predictions are kept close to earlier ones of the same image."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, ScoreHead, TermsAndScores, TrainingFacts, in_float32
from lossbench.losses.linear import LinearHead

SMALLEST_POSTERIOR = 1e-4
"""Posteriors are clamped to this distance from 0 and from 1."""


def clamped_posterior(scores: Tensor) -> Tensor:
    """Softmax (N, K) of scores (N, K), at least 1e-4 away from 0 and 1."""
    return scores.softmax(1).clamp(SMALLEST_POSTERIOR, 1 - SMALLEST_POSTERIOR)


def updated_targets(targets: Tensor, posterior: Tensor, beta: float) -> Tensor:
    """Moving average of the normalised posteriors, beta t + (1 - beta) p / sum_k p_k; no gradient.

    Args:
        targets: (N, K)
        posterior: (N, K) Clamped posteriors.
        beta: Weight of the earlier targets, in [0, 1).

    Returns:
        (N, K)
    """
    p = posterior.detach()
    return beta * targets + (1 - beta) * p / p.sum(1, keepdim=True)


def log_disagreement(targets: Tensor, posterior: Tensor) -> Tensor:
    """Mean of log(1 - <t, p>), which is smallest where posteriors and targets agree.

    Args:
        targets: (N, K)
        posterior: (N, K) Clamped posteriors.

    Returns:
        Scalar.
    """
    return (1 - (targets * posterior).sum(1)).log().mean()


@LOSSES.register(
    "elr",
    reference="Liu et al., NeurIPS 2020",
    title="ELR",
    symbols={"lambda": r"\lambda", "beta": r"\beta"},
)
class EarlyLearningHead(ScoreHead, LinearHead):
    """Early-learning regularisation: softmax loss plus agreement with earlier predictions.

    L = -1/N sum_i log p_{i z_i} + lambda/N sum_i log(1 - <t_i, p_i>)
    p_i = softmax(W x_i + b)
    t_i <- beta t_i + (1 - beta) p_i

    A network learns the correct labels first and fits the wrong ones later. The targets t_i
    are averages of its predictions for each training image; the second term raises the gradient of
    correctly labelled images, which would vanish, and opposes that of wrong labels.

    The targets are a buffer of n x K float32 numbers for n training images, 0 at first: 2.4 MB for
    MNIST, 5 GB for ImageNet, in each process, checkpoint and file of stored weights. Class scores
    do not depend on them, and in eval mode, in which images are not those of the training set, the
    loss is cross-entropy alone.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        lambda_: Weight of the regularisation, >= 0. 0 gives the softmax loss.
        beta: Weight of the earlier targets in the moving average, in [0, 1).

    Terms:
        cross_entropy: Mean cross-entropy of the batch.
        early_learning: `lambda` times the mean of log(1 - <t, p>); at most 0.

    Reference:
        Liu, Niles-Weed, Razavian, Fernandez-Granda: Early-Learning Regularization Prevents
        Memorization of Noisy Labels. NeurIPS 2020.

    Deviations:
        - As in the authors' code, p is clamped to [1e-4, 1 - 1e-4] in the second term, and t is
          updated with the clamped p divided by its sum, before it is used. The defaults are theirs
          for CIFAR-10 with symmetric noise (for CIFAR-100 lambda 7 and beta 0.9).
        - t and the p in it are constants for the gradient, as in the authors' code.
        - Without the paper's extensions (weight averaging, two networks, mixup: ELR+).
    """

    needs = frozenset({"sample_indices"})
    stops_gradients = True
    targets: Tensor

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        lambda_: Annotated[float, Field(ge=0)] = 3.0,
        beta: Annotated[float, Field(ge=0, lt=1)] = 0.7,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.lambda_ = lambda_
        self.beta = beta

    def prepare(self, facts: TrainingFacts) -> None:
        self.register_buffer("targets", torch.zeros(facts.num_samples, self.num_classes))

    def _batch_targets(self, posterior: Tensor) -> Tensor:
        """(N, K) Targets of the batch's images, updated with their posteriors."""
        if self.sample_indices is None:
            raise RuntimeError("elr: call prepare(), then set sample_indices for each batch")
        return updated_targets(self.targets[self.sample_indices], posterior, self.beta)

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        scores = self.linear(features)  # (N, K)
        cross_entropy = F.cross_entropy(scores, labels)
        if not self.training:
            return {"cross_entropy": cross_entropy}, scores
        posterior = clamped_posterior(scores)  # (N, K)
        regularisation = log_disagreement(self._batch_targets(posterior), posterior)
        terms = {
            "cross_entropy": cross_entropy,
            "early_learning": self.lambda_ * regularisation,
        }
        return terms, scores

    @in_float32
    @torch.no_grad()
    def before_step(self, features: Tensor, labels: Tensor) -> None:
        updated = self._batch_targets(clamped_posterior(self.linear(features)))  # (N, K)
        assert self.sample_indices is not None
        self.targets[self.sample_indices] = updated.to(self.targets.dtype)
