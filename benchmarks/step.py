"""Time of a training step compared with the bare model, and with a matrix product."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.timing import take_turns
from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.data.images import ArrayImages, normaliser
from lossbench.losses import create_loss
from lossbench.models import MODELS
from lossbench.suite.schema import Component
from lossbench.training.loop import Training, train
from lossbench.training.memory import keep_freed_memory
from lossbench.training.optimizers import build_optimizer
from lossbench.training.schedules import SCHEDULES

BATCH, STEPS = 128, 4
BAR = 1.02
MODELS_AND_IMAGES = {"mnist_cnn": (1, 28, 28), "resnet_cifar": (3, 32, 32)}
ROWS = ("softmax", "center", "l_softmax", "lgm")
SHARE_BAR = 0.85
SHARE_MODELS = {
    "mnist_cnn": ((1, 28, 28), 128),
    "vgg13": ((3, 32, 32), 4),
    "resnet_cifar": ((3, 32, 32), 128),
}
"""Model -> shape of its images, and batch size of the comparison with a matrix product."""
SIDE = 1024
"""Side of the square matrices of that product."""


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


@dataclass(frozen=True)
class Share:
    """Speed of a model's training step compared with that of a matrix product.

    Attributes:
        milliseconds: Time of a step with softmax in the training loop.
        gigaflops: 6 floating-point operations for each multiplication and addition of the forward
            pass in convolutions and linear layers (2 forward, 4 backward), per second, in 10^9.
        share: That speed divided by the speed of a large matrix product in the same round.
        share_low, share_high: Quartiles of the rounds.
    """

    model: str
    batch: int
    milliseconds: float
    gigaflops: float
    share: float
    share_low: float
    share_high: float
    bar: float


def measure_shares(rounds: int) -> Iterator[Share]:
    """Time a step of each model and a matrix product in turns, with one thread."""
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    a, b = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    for model_name, (shape, batch) in SHARE_MODELS.items():
        channels, height, width = shape
        pixels = torch.randint(256, (batch, height, width, channels), dtype=torch.uint8)
        data = ArrayImages(pixels, torch.arange(batch) % 10)
        flops = 6 * batch * multiplications(MODELS[model_name].create(shape), shape)
        step = _loop(model_name, shape, data, "softmax", batch)
        found = take_turns({"product": lambda: a @ b, "step": step}, rounds, 0.5)["step"]
        scale = flops / (2 * SIDE**3)  # share of the product's speed, if it took as long
        fastest, slowest = found.ratio_range  # of times
        yield Share(
            model=model_name,
            batch=batch,
            milliseconds=1000 * found.median_sec,
            gigaflops=flops / found.median_sec / 1e9,
            share=scale / found.ratio,
            share_low=scale / slowest,
            share_high=scale / fastest,
            bar=SHARE_BAR,
        )


def multiplications(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiplications of the forward pass of one image in convolutions and linear layers."""
    count = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal count
        assert isinstance(module, nn.Conv2d | nn.Linear)
        count += output.numel() * module.weight[0].numel()

    hooks = [
        module.register_forward_hook(add)
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        model.eval()(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return count


def measure(rounds: int) -> Iterator[Measured]:
    """Time some steps per turn, with one thread."""
    keep_freed_memory()
    torch.set_num_threads(1)
    for model_name, shape in MODELS_AND_IMAGES.items():
        channels, height, width = shape
        torch.manual_seed(0)
        pixels = torch.randint(256, (BATCH * STEPS, height, width, channels), dtype=torch.uint8)
        data = ArrayImages(pixels, torch.arange(BATCH * STEPS) % 10)
        calls = {"bare": _bare(model_name, shape)}
        calls |= {loss: _loop(model_name, shape, data, loss, BATCH) for loss in ROWS}
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


def _loop(
    name: str, shape: tuple[int, int, int], data: ArrayImages, loss: str, batch: int
) -> Callable[[], None]:
    training = training_of(name, shape, loss, batch, torch.device("cpu"))

    def steps() -> None:
        training.epochs_done = 0
        train(training, data, lambda epoch, metrics: None)

    return steps


def training_of(
    name: str, shape: tuple[int, int, int], loss: str, batch: int, device: torch.device
) -> Training:
    """One epoch of a network with a loss, as in a trial."""
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
