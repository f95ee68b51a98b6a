"""Time of a training step compared with the bare model on a fixed batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.timing import take_turns
from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.data.images import ArrayImages, normaliser
from lossbench.losses import create_loss
from lossbench.models import MODELS
from lossbench.suite.schema import Component
from lossbench.training.loop import Training, train
from lossbench.training.optimizers import build_optimizer
from lossbench.training.schedules import SCHEDULES

BATCH, STEPS = 128, 4
BAR = 1.02
MODELS_AND_IMAGES = {"mnist_cnn": (1, 28, 28), "resnet_cifar": (3, 32, 32)}
ROWS = ("softmax", "center", "l_softmax", "lgm")


@dataclass(frozen=True)
class Measured:
    """One loss in the training loop.

    Attributes:
        milliseconds: Time per step, with data, head, optimizer and recorded values.
        time_ratio: Time divided by that of forward, backward and optimizer step of the model with
            a linear layer and cross-entropy, on one fixed batch.
        time_low, time_high: Quartiles of the rounds.
    """

    model: str
    loss: str
    milliseconds: float
    time_ratio: float
    time_low: float
    time_high: float
    bar: float | None


def measure(rounds: int) -> Iterator[Measured]:
    """Time some steps per turn, with one thread."""
    torch.set_num_threads(1)
    for model_name, shape in MODELS_AND_IMAGES.items():
        channels, height, width = shape
        torch.manual_seed(0)
        pixels = torch.randint(256, (BATCH * STEPS, height, width, channels), dtype=torch.uint8)
        data = ArrayImages(pixels, torch.arange(BATCH * STEPS) % 10)
        calls = {"bare": _bare(model_name, shape)}
        calls |= {loss: _loop(model_name, data, loss) for loss in ROWS}
        for loss, timing in take_turns(calls, rounds, 0.0).items():
            low, high = timing.ratio_range
            milliseconds = 1000 * timing.median_sec / STEPS
            bar = BAR if loss == "softmax" else None  # other heads cost more themselves
            yield Measured(model_name, loss, milliseconds, timing.ratio, low, high, bar)


def _bare(name: str, shape: tuple[int, int, int]) -> Callable[[], None]:
    model = MODELS[name].create(shape)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    linear = nn.Linear(model.feature_dim, 10)
    parameters = [*model.parameters(), *linear.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
    images = torch.rand(BATCH, *shape).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % 10

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(linear(model(images)), labels).backward()
            optimizer.step()

    return steps


def _loop(name: str, data: ArrayImages, loss: str) -> Callable[[], None]:
    training = training_of(name, loss, BATCH, torch.device("cpu"))

    def steps() -> None:
        training.epochs_done = 0
        train(training, data, lambda epoch, metrics: None)

    return steps


def training_of(name: str, loss: str, batch: int, device: torch.device) -> Training:
    """One epoch of a network with a loss, as in a trial."""
    shape = MODELS_AND_IMAGES[name]
    model = MODELS[name].create(shape).to(device)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    head = create_loss(loss, num_classes=10, feature_dim=model.feature_dim).to(device)
    sgd = Component(name="sgd", params={"lr": 0.01, "momentum": 0.9})
    crop = [] if shape[0] == 1 else ["random_crop", "mirror"]
    return Training(
        model=model,
        head=head,
        optimizer=build_optimizer(sgd, model, head),
        schedule=SCHEDULES["constant"].create(1),
        augmentations=[AUGMENTATIONS[augmentation].create(None) for augmentation in crop],
        normalise=normaliser(0.0, 255.0, device),
        epochs=1,
        batch_size=batch,
        seed=0,
    )
