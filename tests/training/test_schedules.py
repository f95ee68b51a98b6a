from __future__ import annotations

import math
from fractions import Fraction

import pytest

from lossbench.training.schedules import SCHEDULES

FRACTIONS = ["0.07", "0.1", "0.125", "0.3", "0.7", "1", "1.1", "1.36", "2.3", "3.2", "7"]


@pytest.mark.parametrize("steps", [1, 3, 7, 10, 25, 50, 97, 100])
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_the_learning_rate_changes_at_the_exact_step(fraction: str, steps: int) -> None:
    exact = Fraction(fraction)
    by_step = SCHEDULES["step"].create(12, every=float(fraction), gamma=0.5)
    by_milestone = SCHEDULES["multistep"].create(12, milestones=[float(fraction)], gamma=0.5)
    for index in range(12 * steps):
        epoch, step = divmod(index, steps)
        epochs_done = epoch + step / steps  # as the training loop counts
        done = Fraction(index, steps)
        assert by_step(epochs_done) == 0.5 ** math.floor(done / exact)
        assert by_milestone(epochs_done) == (0.5 if done >= exact else 1)


@pytest.mark.parametrize(
    ("name", "params", "done"),
    [("step", {"every": 0.1}, 3 / 10), ("multistep", {"milestones": [1.36]}, 1 + 9 / 25)],
)
def test_rounding_does_not_delay_a_change(
    name: str, params: dict[str, object], done: float
) -> None:
    schedule = SCHEDULES[name].create(10, **params)
    assert schedule(done) < schedule(done - 1e-3) * 0.5
