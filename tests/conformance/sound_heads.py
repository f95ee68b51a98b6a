"""Heads that pass every check."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from lossbench.losses import LossHead
from lossbench.losses.base import in_float32


class Sound(LossHead):
    """Softmax; each broken head differs from it in one respect."""

    def __init__(self, num_classes, feature_dim):
        super().__init__(num_classes, feature_dim)
        self.linear = nn.Linear(feature_dim, num_classes)

    @in_float32
    def terms(self, features, labels):
        return {"cross_entropy": F.cross_entropy(self.linear(features), labels)}

    @in_float32
    def logits(self, features):
        return self.linear(features)


class ReturnsScores(Sound):
    """Scores that differ from the logits by a number for each sample."""

    @in_float32
    def terms_and_scores(self, features, labels):
        scores = self.linear(features)
        return {"cross_entropy": F.cross_entropy(scores, labels)}, scores - scores[:, :1]


class Sampling(Sound):
    """One random factor for the whole batch."""

    @in_float32
    def terms(self, features, labels):
        noise = 1 + 0.1 * torch.rand(len(labels), dtype=features.dtype).mean()
        return {"noisy": noise * F.cross_entropy(self.linear(features), labels)}


class DrawsForEachSample(Sound):
    @in_float32
    def terms(self, features, labels):
        each = F.cross_entropy(self.linear(features), labels, reduction="none")
        return {"noisy": (each * (1 + 0.1 * torch.rand(len(labels), dtype=each.dtype))).mean()}
