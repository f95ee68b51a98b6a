"""Time and memory of a loss head compared with a linear layer and cross-entropy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.memory import peak_bytes
from benchmarks.timing import take_turns
from lossbench.losses import LossHead, create_loss
from lossbench.losses.center import center_distance
from lossbench.training.memory import keep_freed_memory

Loss = Callable[[Tensor, Tensor], Tensor]
SHAPES = ((128, 100, 10), (128, 384, 100), (96, 2048, 1000), (256, 512, 10575))
BARS = {  # targets of the time ratio per shape: with torch.compile, without
    "lgm identity": ((1.6, 2.2), (1.45, 1.45), (1.22, 1.22), (1.13, 1.13)),
    "lgm diagonal": ((2.0, 3.8), (2.5, 2.5), (2.4, 2.4), (2.25, 2.25)),
    "l_softmax m=4": ((2.2, 3.1), (1.5, 1.5), (1.10, 1.10), (1.03, 1.03)),
    "center term": ((0.9, 0.9), (0.35, 0.35), (0.03, 0.03), (0.005, 0.005)),
    "contrastive term": ((4.0, 4.0), (1.4, 1.4), (0.15, 0.15), (0.04, 0.04)),
    "triplet term, batch-hard": ((4.4, 4.4), (1.4, 1.4), (0.15, 0.15), (0.04, 0.04)),
}
MEMORY_BARS = {"lgm identity": 2.0, "lgm diagonal": 3.8, "l_softmax m=4": 2.0}


class Linear(nn.Module):
    """Linear layer with cross-entropy: the divisor of all ratios."""

    def __init__(self, num_classes: int, feature_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_dim, num_classes)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.linear(features), labels)


class CenterTerm(nn.Module):
    """The center loss without its softmax part."""

    def __init__(self, num_classes: int, feature_dim: int) -> None:
        super().__init__()
        self.centers: Tensor
        self.register_buffer("centers", torch.randn(num_classes, feature_dim))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return center_distance(features, labels, self.centers)


class BroadcastMixture(nn.Module):
    """L-GM written like its equations, with a (B, K, D) difference."""

    def __init__(self, num_classes: int, feature_dim: int) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.empty(num_classes, feature_dim))
        nn.init.xavier_uniform_(self.means)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        distance = 0.5 * (features[:, None] - self.means).square().sum(2)  # (B, K)
        own = F.one_hot(labels, len(self.means))
        classification = F.cross_entropy(-distance * (1 + 0.1 * own), labels)
        return classification + 0.1 * (distance * own).sum(1).mean()


def heads(num_classes: int, feature_dim: int) -> dict[str, nn.Module]:
    """Heads of lossbench; the first is the reference."""

    def head(name: str, **params: Any) -> nn.Module:
        return create_loss(name, num_classes=num_classes, feature_dim=feature_dim, **params)

    return {
        "linear + cross-entropy": Linear(num_classes, feature_dim),
        "lgm identity": head("lgm"),
        "lgm diagonal": head("lgm", covariance="diagonal"),
        "l_softmax m=4": head("l_softmax", margin=4, beta_start=5.0),
        "center term": CenterTerm(num_classes, feature_dim),
        "contrastive term": head("contrastive", softmax_weight=0.0),
        "triplet term, batch-hard": head(
            "triplet", softmax_weight=0.0, mining="batch_hard", normalize=False
        ),
        "center, with its step": head("center"),
        "triplet term, all": head("triplet", softmax_weight=0.0, normalize=False),
        "triplet term, semi-hard": head(
            "triplet", softmax_weight=0.0, mining="semi_hard", normalize=False
        ),
    }


def peers(num_classes: int, feature_dim: int, batch: int) -> dict[str, nn.Module]:
    """Heads of other libraries."""
    found: dict[str, nn.Module] = {}
    if batch * num_classes * feature_dim < 2**26:  # above that a call takes seconds
        found["L-GM as a (B, K, D) difference"] = BroadcastMixture(num_classes, feature_dim)
    try:
        from pytorch_metric_learning import distances, losses, miners
    except ImportError:
        return found

    class WithMiner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            distance = distances.LpDistance(normalize_embeddings=False, power=2)
            self.miner = miners.BatchHardMiner(distance=distance)
            self.loss = losses.TripletMarginLoss(margin=0.2, distance=distance)

        def forward(self, features: Tensor, labels: Tensor) -> Tensor:
            loss: Tensor = self.loss(features, labels, self.miner(features, labels))
            return loss

    plain = distances.LpDistance(normalize_embeddings=False)
    found["pml LargeMarginSoftmaxLoss m=4"] = losses.LargeMarginSoftmaxLoss(
        num_classes, feature_dim, margin=4
    )
    found["pml ContrastiveLoss"] = losses.ContrastiveLoss(distance=plain)
    found["pml TripletMarginLoss, batch-hard"] = WithMiner()
    return found


@dataclass(frozen=True)
class Measured:
    """One head at one shape.

    Attributes:
        mode: `eager`, or `compiled` (divided by the compiled linear layer).
        microseconds: Time of a call, forward and backward; median of the rounds.
        time_ratio, time_low, time_high: Time divided by that of the linear layer; median and
            quartiles.
        memory_ratio: Peak memory divided by that of the linear layer; eager only.
        time_bar, memory_bar: Targets that the ratios should not exceed; None: no target.
    """

    head: str
    shape: tuple[int, int, int]
    mode: str
    microseconds: float
    time_ratio: float
    time_low: float
    time_high: float
    memory_ratio: float | None
    time_bar: float | None
    memory_bar: float | None


def measure(
    shape: tuple[int, int, int], rounds: int, turn_sec: float, *, compiled: bool, only: str = ""
) -> Iterator[Measured]:
    """Time all heads at one shape with one thread, in turns."""
    batch, feature_dim, num_classes = shape
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    features = torch.randn(batch, feature_dim, requires_grad=True)
    labels = torch.randint(num_classes, (batch,))
    if num_classes > 10:
        labels = torch.randperm(num_classes)[: batch // 4].repeat_interleave(4)
    candidates = heads(num_classes, feature_dim)
    if not compiled:
        candidates |= peers(num_classes, feature_dim, batch)
    names = [n for i, n in enumerate(candidates) if not i or only in n]
    mode = "compiled" if compiled else "eager"
    if compiled:
        names = [name for name in names if "term" not in name and "step" not in name]
    calls = {}
    for name in names:
        torch.compiler.reset()
        loss: Loss = torch.compile(candidates[name]) if compiled else candidates[name]
        calls[name] = _call(candidates[name], loss, features, labels, step="step" in name)
    memory = {} if compiled else {name: peak_bytes(calls[name]) for name in names}
    reference = memory.get(names[0], 0)
    for name, timing in take_turns(calls, rounds, turn_sec).items():
        bars = BARS.get(name, ())[SHAPES.index(shape)] if name in BARS else (None, None)
        low, high = timing.ratio_range
        yield Measured(
            head=name,
            shape=shape,
            mode=mode,
            microseconds=1e6 * timing.median_sec,
            time_ratio=timing.ratio,
            time_low=low,
            time_high=high,
            memory_ratio=None if compiled else memory[name] / reference,
            time_bar=bars[0 if compiled else 1],
            memory_bar=None if compiled else MEMORY_BARS.get(name),
        )


def _call(
    module: nn.Module, loss: Loss, features: Tensor, labels: Tensor, *, step: bool
) -> Callable[[], None]:
    parameters = list(module.parameters())
    head = module if step and isinstance(module, LossHead) else None

    def call() -> None:
        features.grad = None
        for parameter in parameters:
            parameter.grad = None
        loss(features, labels).backward()
        if head is not None:
            head.after_step(features.detach(), labels)

    return call
