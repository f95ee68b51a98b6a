"""Learning-rate schedules: pure functions of the epochs done so far, with fractions.

A factory takes the total number of epochs and returns epochs done -> factor of the base rate.
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
"""What epochs done may lack for a change to be due: 1 + 9/25 is 1.3599999999999999."""


def _ascending(values: list[float]) -> list[float]:
    if any(b <= a for a, b in itertools.pairwise(values)):
        raise ValueError("should be ascending")
    return values


Milestones = Annotated[list[Positive], Field(min_length=1), AfterValidator(_ascending)]

SCHEDULES: Registry[Schedule] = Registry("schedule")


@SCHEDULES.register("constant")
def constant(_: int) -> Schedule:
    """The base rate throughout."""
    return lambda epoch: 1.0


@SCHEDULES.register("multistep")
def multistep(_: int, *, milestones: Milestones, gamma: Positive = 0.1) -> Schedule:
    """Times gamma at each milestone (in epochs, ascending)."""
    return lambda epoch: gamma ** bisect.bisect_right(milestones, epoch + ROUNDING)


@SCHEDULES.register("step")
def step(_: int, *, every: Positive, gamma: Positive = 0.1) -> Schedule:
    """Times gamma whenever `every` more epochs (also a fraction) are done."""
    return lambda epoch: gamma ** math.floor(epoch / every + ROUNDING)


@SCHEDULES.register("cosine", reference="Loshchilov & Hutter, ICLR 2017")
def cosine(epochs: int) -> Schedule:
    """Half a cosine from the base rate to 0."""
    return lambda epoch: 0.5 * (1 + math.cos(math.pi * min(epoch / epochs, 1.0)))
