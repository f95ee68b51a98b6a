"""Speed of bfloat16 and torch.compile compared with eager float32, in the training loop."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from benchmarks.step import MODELS_AND_IMAGES, training_of
from lossbench.data.images import ArrayImages
from lossbench.training.loop import train
from lossbench.training.memory import keep_freed_memory

BAR = 1.9
MODEL, BATCH, STEPS = "mnist_cnn", 128, 3
MODES = {
    "float32": (None, False),
    "float32, compiled": (None, True),
    "bfloat16": (torch.bfloat16, False),
    "bfloat16, compiled": (torch.bfloat16, True),
}
"""Mode -> autocast type, and whether model and head are compiled."""


@dataclass(frozen=True)
class Measured:
    """One mode.

    Attributes:
        milliseconds: Time per step.
        speed_ratio: Steps per second divided by those of eager float32 in the same round.
        low, high: Minimum and maximum of the rounds.
    """

    mode: str
    milliseconds: float
    speed_ratio: float
    low: float
    high: float
    bar: float | None


def measure(rounds: int, device: torch.device) -> Iterator[Measured]:
    """Time the second of two epochs, since the first one compiles. One CPU thread, softmax."""
    keep_freed_memory()
    torch.set_num_threads(1)
    channels, height, width = MODELS_AND_IMAGES[MODEL]
    torch.manual_seed(0)
    count = BATCH * STEPS
    pixels = torch.randint(256, (count, height, width, channels), dtype=torch.uint8)
    data = ArrayImages(pixels.to(device), (torch.arange(count) % 10).to(device))
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    for _ in range(rounds):
        for mode in MODES:
            seconds[mode].append(_second_epoch(mode, data, device) / STEPS)
    for mode, took in seconds.items():
        ratios = [eager / one for eager, one in zip(seconds["float32"], took, strict=True)]
        yield Measured(
            mode=mode,
            milliseconds=1000 * statistics.median(took),
            speed_ratio=statistics.median(ratios),
            low=min(ratios),
            high=max(ratios),
            bar=BAR if mode == "bfloat16, compiled" else None,
        )


def _second_epoch(mode: str, data: ArrayImages, device: torch.device) -> float:
    training = training_of(MODEL, MODELS_AND_IMAGES[MODEL], "softmax", BATCH, device)
    training.autocast, training.compiled = MODES[mode]
    training.epochs = 2
    ends = []

    def ended(epoch: int, metrics: dict[str, float]) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        ends.append(time.perf_counter())

    train(training, data, ended)
    first, second = ends
    return second - first
