"""Heads with state that neither the optimizer nor a checkpoint has."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from lossbench.losses.base import in_float32
from tests.conformance.sound_heads import Sound


class LearnsInAList(Sound):
    def __init__(self, num_classes, feature_dim):
        super().__init__(num_classes, feature_dim)
        self.scales = [nn.Parameter(torch.ones(num_classes))]

    @in_float32
    def terms(self, features, labels):
        return {"x": F.cross_entropy(self.linear(features) * self.scales[0], labels)}


class CountsSteps(Sound):
    steps = 0

    @in_float32
    def terms(self, features, labels):
        return {"x": F.cross_entropy(self.linear(features) / (1 + 0.1 * self.steps), labels)}

    def after_step(self, features, labels):
        self.steps += 1


class ShiftIsNotPersistent(Sound):
    def __init__(self, num_classes, feature_dim):
        super().__init__(num_classes, feature_dim)
        self.register_buffer("shift", torch.zeros(num_classes), persistent=False)

    @in_float32
    def terms(self, features, labels):
        return {"x": F.cross_entropy(self.linear(features) + self.shift, labels)}

    def after_step(self, features, labels):
        self.shift += 0.1 * torch.bincount(labels, minlength=self.num_classes)


class SeedsInForward(Sound):
    @in_float32
    def terms(self, features, labels):
        torch.manual_seed(0)
        return super().terms(features, labels)
