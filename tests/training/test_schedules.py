"""Schedules, against schedulers of torch and, for steps and milestones, exact fractions."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import optim
from torch.optim import lr_scheduler

from lossbench.errors import ParameterError, RequestError
from lossbench.registry import Registry
from lossbench.training.schedules import SCHEDULES, Schedule, with_warmup

Make = Callable[[optim.Optimizer], lr_scheduler.LRScheduler]
EPOCHS, STEPS = 12, 7
TOTAL = EPOCHS * STEPS
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


def torch_factors(make: Make) -> list[float]:
    """Factor of the base rate in each step of a training, by a scheduler of torch."""
    optimizer = optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = make(optimizer)
    factors = []
    for _ in range(TOTAL):
        factors.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return factors


def own_factors(schedule: Schedule) -> list[float]:
    """Factor of the base rate in each step, with epochs as the training loop counts them."""
    return [schedule(epoch + step / STEPS) for epoch in range(EPOCHS) for step in range(STEPS)]


@pytest.mark.parametrize(
    ("name", "params", "make"),
    [
        ("constant", {}, lambda o: lr_scheduler.ConstantLR(o, 1.0)),
        ("cosine", {}, lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL)),
        ("cosine", {"minimum": 0.2}, lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL, 0.2)),
        ("linear", {}, lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, TOTAL)),
        ("linear", {"minimum": 0.3}, lambda o: lr_scheduler.LinearLR(o, 1.0, 0.3, TOTAL)),
        ("polynomial", {"power": 2.5}, lambda o: lr_scheduler.PolynomialLR(o, TOTAL, 2.5)),
        ("polynomial", {"power": 0.9}, lambda o: lr_scheduler.PolynomialLR(o, TOTAL, 0.9)),
        (
            "exponential",
            {"gamma": 0.7},
            lambda o: lr_scheduler.ExponentialLR(o, 0.7 ** (1 / STEPS)),
        ),
        ("step", {"every": 5, "gamma": 0.3}, lambda o: lr_scheduler.StepLR(o, 5 * STEPS, 0.3)),
        (
            "multistep",
            {"milestones": [3, 10], "gamma": 0.3},
            lambda o: lr_scheduler.MultiStepLR(o, [3 * STEPS, 10 * STEPS], 0.3),
        ),
        (  # here the final rate is reached after the last step, in torch before it
            "one_cycle",
            {"pct_start": 0.4, "div_factor": 10.0, "final_div_factor": 50.0},
            lambda o: lr_scheduler.OneCycleLR(
                o,
                max_lr=1.0,
                total_steps=TOTAL + 1,
                pct_start=(0.4 * TOTAL + 1) / (TOTAL + 1),  # the peak is after 40 % of the steps
                div_factor=10.0,
                final_div_factor=50.0,
                cycle_momentum=False,
            ),
        ),
    ],
)
def test_each_step_has_the_rate_of_torch(name: str, params: dict[str, Any], make: Make) -> None:
    ours = own_factors(SCHEDULES[name].create(EPOCHS, **params))
    assert ours == pytest.approx(torch_factors(make), rel=1e-9, abs=1e-12)
    assert name == "constant" or len(set(ours)) > 1


def test_the_defaults_of_one_cycle_are_those_of_torch() -> None:
    theirs = torch_factors(
        lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=TOTAL + 1, cycle_momentum=False)
    )
    ours = own_factors(SCHEDULES["one_cycle"].create(EPOCHS))
    assert ours[0] == pytest.approx(theirs[0]) == 1 / 25
    assert ours == pytest.approx(theirs, abs=0.05)  # torch's peak is one step earlier
    end = SCHEDULES["one_cycle"].create(EPOCHS)(EPOCHS)
    assert end == pytest.approx(1 / 25 / 1e4)


@pytest.mark.parametrize("name", list(SCHEDULES))
@pytest.mark.parametrize(("warmup", "start"), [(3.0, 0.0), (2.5, 0.25), (12, 0.1)])
def test_a_warm_up_multiplies_any_schedule_by_a_line(
    name: str, warmup: float, start: float
) -> None:
    needed = {
        "multistep": {"milestones": [2, 10]},
        "step": {"every": 2},
        "exponential": {"gamma": 0.9},
        "polynomial": {"power": 2.0},
    }.get(name, {})
    plain = own_factors(SCHEDULES[name].create(EPOCHS, **needed))
    given = {"warmup": warmup, "warmup_from": start}
    ours = own_factors(SCHEDULES[name].create(EPOCHS, **needed, **given))
    for index, (own, other) in enumerate(zip(ours, plain, strict=True)):
        line = min(start + (1 - start) * index / (warmup * STEPS), 1.0)
        assert own == pytest.approx(line * other, rel=1e-9, abs=1e-12)
    assert ours[int(warmup * STEPS) + 1 :] == plain[int(warmup * STEPS) + 1 :]  # bit-identical


def test_a_warm_up_is_that_of_torch() -> None:
    warmup = 4
    theirs = torch_factors(lambda o: lr_scheduler.LinearLR(o, 0.1, 1.0, warmup * STEPS))
    ours = SCHEDULES["constant"].create(EPOCHS, warmup=warmup, warmup_from=0.1)
    assert own_factors(ours) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("name", ["cosine", "constant"])
def test_a_schedule_without_warm_up_has_the_parameters_of_earlier_versions(name: str) -> None:
    entry = SCHEDULES[name]
    assert entry.resolve({"warmup": 0, "warmup_from": 0.0}) == entry.resolve({}) == {}
    assert entry.resolve({"warmup": 5}) == {"warmup": 5.0}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"warmup": 12.5}, r"warmup: 12\.5 epochs are longer than the training \(12 epochs\)"),
        ({"warmup_from": 0.1}, "warmup_from: needs a warmup greater than 0"),
        ({"warmup": 3, "warmup_from": 1}, "warmup_from: should be less than 1"),
        ({"warmup": -1}, "warmup: should be greater than or equal to 0"),
        ({"warmpu": 1}, "warmpu: unknown key; did you mean 'warmup'"),
    ],
)
def test_a_wrong_warm_up_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        SCHEDULES["cosine"].create(EPOCHS, **params)


def test_schedules_of_plugins_and_libraries_have_a_warm_up() -> None:
    registry: Registry[Schedule] = Registry("schedule", finish=with_warmup)

    @registry.register("half")
    def half(epochs: int, *, share: float = 0.5) -> Schedule:
        return lambda epoch: share

    plain: Registry[Schedule] = Registry("schedule")
    plain.register("own")(half)
    registry.register_prefix("far", lambda name: plain["own"], lambda: ["half"], plain["own"])
    for name in ("half", "far.half"):
        warmed = registry[name].create(4, share=0.25, warmup=2)
        assert [warmed(0), warmed(1), warmed(2), warmed(3)] == [0, 0.125, 0.25, 0.25]

    def other(epochs: int, *, warmup: float = 1.0) -> Schedule:
        return lambda epoch: warmup

    with pytest.raises(RequestError, match="schedule 'other': every schedule has the parameter 'w"):
        registry.register("other")(other)
