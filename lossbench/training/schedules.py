"""Learning-rate schedules: pure functions of the number of finished epochs, a float.

A factory maps the total number of epochs to a function: finished epochs -> factor of the base rate.
The training loop calls it before every step, so the rate changes after every step.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field

from lossbench.errors import ParameterError, Problem
from lossbench.registry import OMIT_DEFAULT, Registry

Schedule = Callable[[float], float]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
ROUNDING = 1e-9
"""Tolerance in epochs for the time of a change: 1 + 9/25 is 1.3599999999999999."""


def _ascending(values: list[float]) -> list[float]:
    if any(b <= a for a, b in itertools.pairwise(values)):
        raise ValueError("should be ascending")
    return values


Milestones = Annotated[list[Positive], Field(min_length=1), AfterValidator(_ascending)]


def with_warmup(
    schedule: Schedule,
    epochs: int,
    *,
    warmup: Annotated[NonNegative, OMIT_DEFAULT] = 0.0,
    warmup_from: Annotated[Share, OMIT_DEFAULT] = 0.0,
) -> Schedule:
    """Multiply the factor of a schedule by a linear warm-up at the start of the training.

    The schedule itself is not delayed: its epochs, such as milestones, are counted from the start
    of the training.

    Args:
        schedule: Finished epochs -> factor of the base rate.
        epochs: Number of epochs of the training.
        warmup: Epochs during which the learning rate is multiplied by a factor that increases
            linearly to 1; >= 0, at most those of the training; fractions are allowed.
        warmup_from: Factor at the start of the warm-up, in [0, 1).

    Raises:
        ParameterError: The warm-up is longer than the training, or there is none to start.

    Reference: Goyal et al., 2017
    """
    if warmup > epochs:
        unit = "epoch" if epochs == 1 else "epochs"
        message = f"{warmup:g} epochs are longer than the training ({epochs} {unit})"
        raise ParameterError("schedule", [Problem(("warmup",), message)])
    if warmup == 0:
        message = "needs a warmup greater than 0"
        raise ParameterError("schedule", [Problem(("warmup_from",), message)])

    def warmed_up(epoch: float) -> float:
        done = min(epoch / warmup, 1.0)
        return schedule(epoch) * (warmup_from + (1 - warmup_from) * done)

    return warmed_up


SCHEDULES: Registry[Schedule] = Registry(
    "schedule", group="lossbench.schedules", finish=with_warmup
)


@SCHEDULES.register("constant")
def constant(_: int) -> Schedule:
    """Constant learning rate."""
    return lambda epoch: 1.0


@SCHEDULES.register("multistep")
def multistep(_: int, *, milestones: Milestones, gamma: Positive = 0.1) -> Schedule:
    """Multiply the learning rate by gamma at each milestone.

    Args:
        milestones: Epochs in ascending order, > 0; fractions are allowed.
        gamma: Factor of the learning rate, > 0.
    """
    return lambda epoch: gamma ** bisect.bisect_right(milestones, epoch + ROUNDING)


@SCHEDULES.register("step")
def step(_: int, *, every: Positive, gamma: Positive = 0.1) -> Schedule:
    """Multiply the learning rate by gamma at regular intervals.

    Args:
        every: Interval in epochs, > 0; fractions are allowed.
        gamma: Factor of the learning rate, > 0.
    """
    return lambda epoch: gamma ** math.floor(epoch / every + ROUNDING)


@SCHEDULES.register("exponential")
def exponential(_: int, *, gamma: Positive) -> Schedule:
    """Multiply the learning rate by gamma in every epoch, evenly after every step.

    factor = gamma^t after t epochs. For a rate that changes at the end of each epoch only, use
    `step` with `every: 1`.

    Args:
        gamma: Factor of the learning rate per epoch, > 0.
    """
    return lambda epoch: math.pow(gamma, epoch)


@SCHEDULES.register("cosine", reference="Loshchilov & Hutter, ICLR 2017")
def cosine(epochs: int, *, minimum: Annotated[Share, OMIT_DEFAULT] = 0.0) -> Schedule:
    """Decrease the learning rate to its minimum along half a cosine.

    Args:
        minimum: Share of the base rate at the end of the training, in [0, 1).
    """
    return lambda epoch: _half_cosine(1.0, minimum, min(epoch / epochs, 1.0))


@SCHEDULES.register("linear")
def linear(epochs: int, *, minimum: Share = 0.0) -> Schedule:
    """Decrease the learning rate linearly to its minimum.

    Args:
        minimum: Share of the base rate at the end of the training, in [0, 1).
    """
    return _power_decay(epochs, 1.0, minimum)


@SCHEDULES.register("polynomial")
def polynomial(epochs: int, *, power: Positive, minimum: Share = 0.0) -> Schedule:
    """Decrease the learning rate to its minimum with a power of the remaining epochs.

    factor = minimum + (1 - minimum) (1 - t / epochs)^power after t epochs.

    Args:
        power: Exponent, > 0; with 1 the decrease is linear.
        minimum: Share of the base rate at the end of the training, in [0, 1).
    """
    return _power_decay(epochs, power, minimum)


@SCHEDULES.register("one_cycle", reference="Smith & Topin, 2017")
def one_cycle(
    epochs: int,
    *,
    pct_start: Annotated[float, Field(gt=0, lt=1)] = 0.3,
    div_factor: Annotated[float, Field(ge=1)] = 25.0,
    final_div_factor: Annotated[float, Field(ge=1)] = 1e4,
) -> Schedule:
    """Increase the learning rate to the base rate, then decrease it to almost 0.

    Both parts are halves of a cosine: from lr / div_factor to lr, then to
    lr / (div_factor final_div_factor). Parameters and defaults are those of torch's `OneCycleLR`,
    whose `max_lr` is the base rate here.

    Args:
        pct_start: Share of the training in which the rate increases, in (0, 1).
        div_factor: Base rate divided by the initial rate, >= 1.
        final_div_factor: Initial rate divided by the final rate, >= 1.

    Deviations:
        The momentum is not changed; in torch and the paper it decreases while the rate increases.
        In torch the last step has the final rate, here the end of that step. The paper has linear
        parts, and the decrease in two parts.
    """
    initial, final = 1 / div_factor, 1 / (div_factor * final_div_factor)
    peak = pct_start * epochs

    def factor(epoch: float) -> float:
        if epoch <= peak:
            return _half_cosine(initial, 1.0, epoch / peak)
        return _half_cosine(1.0, final, min((epoch - peak) / (epochs - peak), 1.0))

    return factor


def _power_decay(epochs: int, power: float, minimum: float) -> Schedule:
    def factor(epoch: float) -> float:
        remaining = 1 - min(epoch / epochs, 1.0)
        return minimum + (1 - minimum) * math.pow(remaining, power)

    return factor


def _half_cosine(start: float, end: float, share: float) -> float:
    """Value between start and end along half a cosine, after a share of the way."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
