"""Several seeds as one program beside a plain loop over seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from benchmarks.timing import take_turns
from lossbench.data.images import ArrayImages, normaliser
from lossbench.losses import create_loss
from lossbench.models import MODELS
from lossbench.suite import Component
from lossbench.training.loop import Training, train
from lossbench.training.optimizers import build_optimizer
from lossbench.training.packed import Pack, train_packed
from lossbench.training.schedules import SCHEDULES

BAR = 3.0
"""Steps of all seeds a second, packed, for the MNIST network on a GPU."""
NETWORKS = {"digits_cnn": ((1, 8, 8), 64), "mnist_cnn": ((1, 28, 28), 128)}
"""Image shape and batch."""


@dataclass(frozen=True)
class Measured:
    """One loss at one number of seeds.

    Attributes:
        alone_ms: A step of one seed, in a loop over the seeds.
        packed_ms: A step of the pack, divided by the seeds.
        speed_ratio: Steps of all seeds a second, packed, to those of the loop.
        low, high: Middle half of the rounds.
    """

    model: str
    loss: str
    seeds: int
    alone_ms: float
    packed_ms: float
    speed_ratio: float
    low: float
    high: float
    bar: float | None


def measure(
    models: Sequence[str],
    losses: Sequence[str],
    seeds: Sequence[int],
    rounds: int,
    device: torch.device,
    steps: int,
) -> Iterator[Measured]:
    """An epoch of some steps a turn, one CPU thread; the data lie on the device."""
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # as in trials
    torch.backends.cudnn.deterministic = True
    for model in models:
        (channels, height, width), batch = NETWORKS[model]
        torch.manual_seed(0)
        shape = (batch * steps, height, width, channels)
        pixels = torch.randint(256, shape, dtype=torch.uint8).to(device)
        data = ArrayImages(pixels, (torch.arange(batch * steps) % 10).to(device))
        for loss in losses:
            for count in seeds:
                alone, packed = (
                    [_training(model, loss, seed, device) for seed in range(count)]
                    for _ in range(2)
                )
                calls = {
                    "packed": _waited(_packed(Pack(packed, data)), device),
                    "loop": _waited(_loop(alone, data), device),
                }
                timing = take_turns(calls, rounds, 0.0)
                low, high = timing["loop"].ratio_range
                each = 1000 / steps / count
                yield Measured(
                    model=model,
                    loss=loss,
                    seeds=count,
                    alone_ms=timing["loop"].median_sec * each,
                    packed_ms=timing["packed"].median_sec * each,
                    speed_ratio=timing["loop"].ratio,
                    low=low,
                    high=high,
                    bar=BAR if device.type == "cuda" and model == "mnist_cnn" else None,
                )


def _training(name: str, loss: str, seed: int, device: torch.device) -> Training:
    torch.manual_seed(seed)
    shape, batch = NETWORKS[name]
    model = MODELS[name].create(shape)
    head = create_loss(loss, num_classes=10, feature_dim=model.feature_dim).to(device)
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    sgd = Component(name="sgd", params={"lr": 0.001, "momentum": 0.9})
    return Training(
        model=model,
        head=head,
        optimizer=build_optimizer(sgd, model, head),
        schedule=SCHEDULES["constant"].create(1),
        augmentations=[],
        normalise=normaliser(0.0, 255.0, device),
        epochs=1,
        batch_size=batch,
        seed=seed,
    )


def _loop(trainings: Sequence[Training], data: ArrayImages) -> Callable[[], None]:
    def steps() -> None:
        for training in trainings:
            training.epochs_done = 0
            train(training, data, lambda epoch, metrics: None)

    return steps


def _packed(pack: Pack) -> Callable[[], None]:
    def steps() -> None:
        for member in pack.members:
            member.epochs_done = 0
        train_packed(pack, lambda epoch, metrics: None)

    return steps


def _waited(steps: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Until the device is done, too."""

    def timed() -> None:
        steps()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return timed
