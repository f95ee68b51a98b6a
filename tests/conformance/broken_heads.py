"""One deliberately broken head for each thing that a check can find, and a part of the message."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from lossbench.losses import DensityHead, ParameterGroup
from lossbench.losses.base import in_float32
from lossbench.losses.gaussian import log_density
from tests.conformance.hidden_state_heads import (
    CountsSteps,
    LearnsInAList,
    SeedsInForward,
    ShiftIsNotPersistent,
)
from tests.conformance.score_heads import BROKEN_SCORES
from tests.conformance.sound_heads import Sound


class WrongDerivative(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x

    @staticmethod
    def backward(context, slope):
        return 2 * slope


class TwiceTheGradient(Sound):
    @in_float32
    def terms(self, features, labels):
        scores = self.linear(WrongDerivative.apply(features))
        return {"cross_entropy": F.cross_entropy(scores, labels)}


class Float32Inside(Sound):
    def terms(self, features, labels):
        return {"x": F.cross_entropy(self.linear(features).float(), labels)}


class NoGradient(Sound):
    def terms(self, features, labels):
        with torch.no_grad():
            return super().terms(features, labels)


class HalfTheSamples(Sound):
    def terms(self, features, labels):
        return super().terms(features[::2], labels[::2])


class UnusedParameter(Sound):
    def __init__(self, num_classes, feature_dim):
        super().__init__(num_classes, feature_dim)
        self.margin = nn.Parameter(torch.ones(()))


class FirstCountsMost(Sound):
    @in_float32
    def terms(self, features, labels):
        each = F.cross_entropy(self.linear(features), labels, reduction="none")
        return {"x": (each * torch.arange(len(labels), 0, -1)).mean()}


class NoLabels(Sound):
    @in_float32
    def terms(self, features, labels):
        return {"x": self.linear(features).square().mean()}


class CountsInForward(Sound):
    def __init__(self, num_classes, feature_dim):
        super().__init__(num_classes, feature_dim)
        self.register_buffer("seen", torch.zeros(()))

    def terms(self, features, labels):
        self.seen += 1
        return super().terms(features, labels)


class HidesStateInForward(Sound):
    factor = 1.0

    def terms(self, features, labels):
        terms = super().terms(features, labels)
        self.factor += 0.1
        return {"x": self.factor * terms["cross_entropy"]}


class CentersOutsideTheState(Sound):
    def __init__(self, num_classes, feature_dim):
        super().__init__(num_classes, feature_dim)
        self.centers = torch.zeros(num_classes, feature_dim)

    @in_float32
    def terms(self, features, labels):
        pull = (features - self.centers.to(features.dtype)[labels]).square().mean()
        return super().terms(features, labels) | {"pull": pull}

    @torch.no_grad()
    def after_step(self, features, labels):
        self.centers = self.centers + features.mean(0).to(self.centers)


class NotPersistent(Sound):
    def __init__(self, num_classes, feature_dim):
        super().__init__(num_classes, feature_dim)
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def logits(self, features):
        return self.scale * super().logits(features)

    def after_step(self, features, labels):
        self.scale = self.scale + features.mean().detach()


class NotPicklable(Sound):
    def __init__(self, num_classes, feature_dim):
        super().__init__(num_classes, feature_dim)
        self.act = lambda x: x


class ForgottenParameter(Sound):
    def parameter_groups(self):
        return [ParameterGroup((self.linear.weight,))]


class ParameterTwice(Sound):
    def parameter_groups(self):
        both = tuple(self.parameters())
        return [ParameterGroup(both), ParameterGroup(both[:1])]


class ForeignParameter(Sound):
    def parameter_groups(self):
        return [ParameterGroup((*self.parameters(), nn.Parameter(torch.ones(1))))]


class StandingStill(Sound):
    def parameter_groups(self):
        return [ParameterGroup(tuple(self.parameters()), lr_scale=0.0)]


class PlainDicts(Sound):
    def parameter_groups(self):
        return [{"params": list(self.parameters())}]


class HalfPrecision(Sound):
    def terms(self, features, labels):  # without @in_float32
        return {"x": F.cross_entropy(features @ self.linear.weight.T, labels)}


class OverflowsInFloat16(Sound):
    def terms(self, features, labels):
        decay = features.square().sum(1).mean()
        return {"x": F.cross_entropy(self.linear(features).float(), labels), "decay": decay.float()}


class VectorTerm(Sound):
    @in_float32
    def terms(self, features, labels):
        return {"each": F.cross_entropy(self.linear(features), labels, reduction="none")}


class ListOfTerms(Sound):
    @in_float32
    def terms(self, features, labels):
        return [F.cross_entropy(self.linear(features), labels)]


class ReservedName(Sound):
    def terms(self, features, labels):
        return {"error": super().terms(features, labels)["cross_entropy"]}


class OddName(Sound):
    def terms(self, features, labels):
        return {"cross entropy (mean)": super().terms(features, labels)["cross_entropy"]}


class OtherSum(Sound):
    def forward(self, features, labels):
        return 2 * super().forward(features, labels)


class TransposedLogits(Sound):
    def logits(self, features):
        return super().logits(features).T


class InfiniteLogits(Sound):
    def logits(self, features):
        return super().logits(features) / 0


class BatchNormLogits(Sound):
    def logits(self, features):
        return super().logits(features - features.mean(0))


class WrongLogOdds(Sound):
    def log_odds(self, features, labels):
        return super().log_odds(features, labels)[:, None]


class NanForAbsentClasses(Sound):
    @in_float32
    def terms(self, features, labels):
        means = [features[labels == k].mean() for k in range(self.num_classes)]
        return super().terms(features, labels) | {"spread": torch.stack(means).var()}


class RootAtZero(Sound):
    @in_float32
    def terms(self, features, labels):
        return super().terms(features, labels) | {"x": features.square().sum(1).sqrt().mean()}


class DividesInAfterStep(Sound):
    def __init__(self, num_classes, feature_dim):
        super().__init__(num_classes, feature_dim)
        self.register_buffer("centers", torch.zeros(num_classes, feature_dim))

    def after_step(self, features, labels):
        count = torch.bincount(labels, minlength=self.num_classes)
        self.centers /= count[:, None]


class UnknownBuffer(Sound):
    def schedules(self):
        return {"margin": lambda progress: progress}


class UndeclaredSchedule(Sound):
    def __init__(self, num_classes, feature_dim):
        super().__init__(num_classes, feature_dim)
        self.register_buffer("margin", torch.zeros(()))

    def set_progress(self, progress):
        self.margin.fill_(progress)


class OtherSchedule(UndeclaredSchedule):
    def schedules(self):
        return {"margin": lambda progress: 2 * progress}


class TenClassesOnly(Sound):
    def __init__(self, num_classes, feature_dim):
        super().__init__(10, feature_dim)


class NeedsThreeDimensions(Sound):
    def __init__(self, num_classes, feature_dim):
        super().__init__(num_classes, feature_dim)
        if feature_dim < 3:
            raise ValueError("give me three dimensions")


class OneOfAClass(Sound):
    samples_per_class = 1


class NoClassMeans(Sound):
    needs_class_means = True


class IndicesInEvalMode(Sound):
    needs = frozenset({"sample_indices"})

    def terms(self, features, labels):
        weights = 1 / (1 + self.sample_indices)
        each = F.cross_entropy(self.linear(features), labels, reduction="none")
        return {"weighted": (weights * each).mean()}


class StopsMaybe(Sound):
    stops_gradients = "yes"


class OddDistance(Sound):
    verification_distance = "manhattan"


class Unnormalised(DensityHead, Sound):
    """A Gaussian without its constant."""

    scale = 2 * math.pi

    def __init__(self, num_classes, feature_dim):
        super().__init__(num_classes, feature_dim)
        self.means = nn.Parameter(torch.zeros(num_classes, feature_dim))

    @property
    def class_means(self):
        return self.means.detach()

    def class_log_density(self, features):
        return log_density(features, self.means) + math.log(self.scale)


class ShiftedMeans(Unnormalised):
    scale = 1.0

    @property
    def class_means(self):
        return self.means.detach() + 1


class WrongWay(Sound):
    def terms(self, features, labels):
        return {"x": -super().terms(features, labels)["cross_entropy"]}


class LearnsNothing(Sound):
    def terms(self, features, labels):
        return super().terms(features.detach(), labels)

    def parameter_groups(self):
        return [ParameterGroup(tuple(self.parameters()), lr_scale=1e-9)]


class WrongLogits(Sound):
    def logits(self, features):
        return -super().logits(features)


class Raises(Sound):
    def terms(self, features, labels):
        return {"x": features @ torch.ones(3, 3)}


BROKEN = [
    ("optimizer", LearnsInAList, "not parameters of the head get a gradient (1)"),
    ("state", CountsSteps, "after load_state_dict the loss is"),
    ("state", ShiftIsNotPersistent, "shift is not in the state dict; use register_buffer"),
    ("purity", SeedsInForward, "forward seeds it"),
    ("gradient", TwiceTheGradient, "gradient of features: "),
    ("gradient", Float32Inside, "the loss of float64 features is float32"),
    ("gradient", NoGradient, "it does not depend on anything differentiable"),
    ("reach", HalfTheSamples, "8 of 16 samples get no gradient"),
    ("reach", UnusedParameter, "margin gets no gradient"),
    ("order", FirstCountsMost, "in another order"),
    ("order", NoLabels, "for other labels as well"),
    ("purity", CountsInForward, "changed seen; updates belong in after_step"),
    ("purity", HidesStateInForward, "after another batch (same random seed)"),
    ("state", CentersOutsideTheState, "centers is not in the state dict; use register_buffer"),
    ("state", NotPersistent, "the sum of the logits is"),
    ("pickling", NotPicklable, "pickle"),
    ("optimizer", ForgottenParameter, "linear.bias is in no group"),
    ("optimizer", ParameterTwice, "linear.weight is in two groups"),
    ("optimizer", ForeignParameter, "not a learnable parameter of the head"),
    ("optimizer", StandingStill, "its lr_scale is not above 0"),
    ("optimizer", PlainDicts, "should return ParameterGroups"),
    ("autocast", HalfPrecision, "put @in_float32"),
    ("autocast", OverflowsInFloat16, "the loss: inf under float16 autocast"),
    ("terms", VectorTerm, "term 'each' should be a scalar tensor, not shape (16,)"),
    ("terms", ListOfTerms, "terms() should return a dict of scalars"),
    ("terms", ReservedName, "the name 'error' of a term is used by the training loop"),
    (
        "terms",
        OddName,
        "'cross entropy (mean)' of a term has characters other than letters, digits and _",
    ),
    ("terms", OtherSum, "but its terms add up to"),
    ("logits", TransposedLogits, "logits of 16 samples and 4 classes have shape (4, 16)"),
    ("logits", InfiniteLogits, "of 64 logits are not finite"),
    ("logits", BatchNormLogits, "the logits of three samples differ by"),
    ("logits", WrongLogOdds, "log_odds() of 16 samples should be 16 finite numbers"),
    ("finite", NanForAbsentClasses, "one class, the others absent: the loss is nan"),
    ("finite", RootAtZero, "zero features: the gradient of features is not finite"),
    ("finite", DividesInAfterStep, "others absent: after_step makes centers not finite"),
    ("schedules", UnknownBuffer, "margin is scheduled, but is not a buffer"),
    ("schedules", UndeclaredSchedule, "set_progress changes margin"),
    ("schedules", OtherSchedule, "margin is 0.7 at progress 0.7, not 1.4"),
    ("sizes", TenClassesOnly, "num_classes and feature_dim are (10, 1) instead of (2, 1)"),
    ("sizes", NeedsThreeDimensions, "ValueError: give me three dimensions (broken_heads.py:"),
    ("declarations", OneOfAClass, "samples_per_class should be None or an int of 2 or more"),
    ("declarations", IndicesInEvalMode, "in eval mode there are no sample_indices, because"),
    ("declarations", StopsMaybe, "stops_gradients should be a bool, not 'yes'"),
    ("declarations", NoClassMeans, "needs_class_means is set, but there is no fit_class_means"),
    ("declarations", OddDistance, "not 'manhattan'"),
    ("densities", Unnormalised, "a class's density integrates to 6.28"),
    ("densities", ShiftedMeans, "is 1 away from class_means"),
    ("learning", WrongWay, "in 3 of 3 attempts; accuracy on three separate clusters is 0 %"),
    ("learning", LearnsNothing, "in 3 of 3 attempts; the loss went from"),
    ("learning", WrongLogits, "accuracy on three separate clusters is"),
    ("terms", Raises, "RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
    *BROKEN_SCORES,
]
