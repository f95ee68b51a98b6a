"""Learning-rate schedules: pure functions of the number of finished epochs, a float.

A factory maps the total number of epochs to a function: finished epochs -> factor of the base rate.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field

from lossbench.registry import Registry

Schedule = Callable[[float], float]
Positive = Annotated[float, Field(gt=0)]
ROUNDING = 1e-9
"""Tolerance in epochs for a change of the rate: 1 + 9/25 is 1.3599999999999999."""


def _ascending(values: list[float]) -> list[float]:
    if any(b <= a for a, b in itertools.pairwise(values)):
        raise ValueError("should be ascending")
    return values


Milestones = Annotated[list[Positive], Field(min_length=1), AfterValidator(_ascending)]

SCHEDULES: Registry[Schedule] = Registry("schedule", group="lossbench.schedules")


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


@SCHEDULES.register("cosine", reference="Loshchilov & Hutter, ICLR 2017")
def cosine(epochs: int) -> Schedule:
    """Decrease the learning rate to 0 along half a cosine."""
    return lambda epoch: 0.5 * (1 + math.cos(math.pi * min(epoch / epochs, 1.0)))
