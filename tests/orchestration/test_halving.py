"""Early stopping, without Ray: who is stopped, and who is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lossbench.orchestration.halving import Halving


class Told:
    """In place of a recorder."""

    def __init__(self) -> None:
        self.stopped: list[str] = []

    def trial_of(self, trial: Any) -> Any:
        return trial.mine

    def give_up(self, trial: Any) -> None:
        self.stopped.append(trial.trial_id)


def tune_trial(name: str, loss: str = "lgm", variant: str = "2-D") -> Any:
    mine = SimpleNamespace(variant=variant, loss=SimpleNamespace(name=loss))
    return SimpleNamespace(trial_id=name, mine=mine)


@pytest.fixture
def told() -> Told:
    return Told()


def run(halving: Halving, trial: Any, errors: dict[int, float]) -> str:
    """Report epochs until the end, or until it is stopped."""
    halving.on_trial_add(None, trial)
    for epoch, error in errors.items():
        result = {"epoch": epoch, "holdout_error": error}
        if halving.on_trial_result(None, trial, result) == "STOP":
            return f"stopped at {epoch}"
    return "ended"


def course(error: float, epochs: int = 18) -> dict[int, float]:
    return {epoch: error + 1 / epoch for epoch in range(1, epochs + 1)}


def test_who_is_behind_at_a_rung_is_stopped_and_told(told: Told) -> None:
    halving = Halving(told, epochs=18)  # type: ignore[arg-type]
    assert run(halving, tune_trial("first"), course(10)) == "ended"  # ahead of nobody
    assert run(halving, tune_trial("worse"), course(20)) == "stopped at 2"
    assert run(halving, tune_trial("better"), course(5)) == "ended"
    falls_back = {**course(1, 5), **dict.fromkeys(range(6, 19), 30.0)}
    assert run(halving, tune_trial("falls back"), falls_back) == "stopped at 6"
    assert told.stopped == ["worse", "falls back"]


def test_the_last_epoch_stops_nobody(told: Told) -> None:
    halving = Halving(told, epochs=3)  # type: ignore[arg-type]
    for error in (10, 9, 8):
        assert run(halving, tune_trial(f"{error}"), course(error, 3)) == "ended"


def test_losses_and_columns_are_on_their_own(told: Told) -> None:
    halving = Halving(told, epochs=18)  # type: ignore[arg-type]
    assert run(halving, tune_trial("fast"), course(1)) == "ended"
    assert run(halving, tune_trial("slow loss", loss="l_softmax"), course(80)) == "ended"
    assert run(halving, tune_trial("hard column", variant="100-D"), course(80)) == "ended"
    assert run(halving, tune_trial("slow"), course(80)) == "stopped at 2"


def test_reports_without_a_measurement_change_nothing(told: Told) -> None:
    halving = Halving(told, epochs=18)  # type: ignore[arg-type]
    trial = tune_trial("a")
    halving.on_trial_add(None, trial)
    assert halving.on_trial_result(None, trial, {"epochs": []}) == "CONTINUE"
    halving.on_trial_complete(None, trial, {})
