"""Base of the losses on pairs and triplets: a softmax term plus a loss on embeddings."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossbench.errors import ParameterError, Problem
from lossbench.losses.base import ScoreHead, TermsAndScores, in_float32


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances from differences: exact, and with gradient 0, where vectors coincide.

    Args:
        a: (N, D)
        b: (M, D)

    Returns:
        (N, M)
    """
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


class EmbeddingLossHead(ScoreHead):
    """Base of losses on distances between features, added to the softmax loss.

    L = softmax_weight * cross-entropy + weight * embedding loss

    With `softmax_weight` 0 there is no linear layer; the predicted class is that of the nearest
    class mean: the mean embedding of the class's training images. Classes without training images
    are never predicted.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        name: Name of the embedding term, and of the loss in messages.
        weight: Weight of the embedding term, >= 0.
        softmax_weight: Weight of the softmax term, >= 0.
        samples_per_class: Number of images in each group of one class in a batch, >= 2.

    Raises:
        ParameterError: Both weights are 0.
    """

    class_means: Tensor
    class_seen: Tensor

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        name: str,
        *,
        weight: float,
        softmax_weight: float,
        samples_per_class: int,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        if weight == 0 and softmax_weight == 0:
            problem = Problem(
                ("weight",), "should not be 0 if softmax_weight is 0: nothing would be trained"
            )
            raise ParameterError(name, [problem])
        self.name = name
        self.weight = weight
        self.softmax_weight = softmax_weight
        self.samples_per_class = samples_per_class
        self.needs_class_means = softmax_weight == 0
        self.linear: nn.Linear | None = None
        if softmax_weight > 0:
            self.linear = nn.Linear(feature_dim, num_classes)
        else:
            self.register_buffer("class_means", torch.zeros(num_classes, feature_dim))
            self.register_buffer("class_seen", torch.ones(num_classes, dtype=torch.bool))

    @abstractmethod
    def embedding_loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embedding term without its weight, a scalar.

        Args:
            embeddings: (N, D) As returned by `embed`.
            labels: (N,)
        """

    def embed(self, features: Tensor) -> Tensor:
        """Embeddings (N, D) for the embedding term. Default: the features."""
        return features

    @in_float32
    def terms_and_scores(self, features: Tensor, labels: Tensor) -> TermsAndScores:
        terms = {self.name: self.weight * self.embedding_loss(self.embed(features), labels)}
        if self.linear is None:
            return terms, None
        scores = self.linear(features)  # (N, K)
        terms["cross_entropy"] = self.softmax_weight * F.cross_entropy(scores, labels)
        return terms, scores

    @in_float32
    def logits(self, features: Tensor) -> Tensor:
        if self.linear is not None:
            affinities: Tensor = self.linear(features)  # (N, K)
            return affinities
        scores = -0.5 * distances(self.embed(features), self.class_means).square()  # (N, K)
        return scores.masked_fill(~self.class_seen, torch.finfo(scores.dtype).min)

    @torch.no_grad()
    def fit_class_means(self, features: Tensor, labels: Tensor) -> None:
        if not self.needs_class_means:
            return
        embeddings = self.embed(features.double())  # float64, because many vectors are added
        sums = torch.zeros_like(self.class_means, dtype=torch.double)
        sums.index_add_(0, labels, embeddings)  # (K, D)
        count = torch.bincount(labels, minlength=self.num_classes)  # (K,)
        self.class_means.copy_(sums / count.clamp_min(1)[:, None])
        self.class_seen.copy_(count > 0)
