"""The progress display."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from lossbench.planning.plan import Plan
from lossbench.records import EpochRecord
from lossbench.runner.progress import Display
from tests.runner.fake_runs import result_of


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_shows_running_trials_and_counts(plan: Plan) -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    first, second, third = plan.trials
    with Display(console, 3, 6) as display:
        for trial in plan.trials:
            display.started(trial)
        display.epoch(first, EpochRecord(epoch=1, timestamp_ms=1, metrics={"test_error": 12.5}))
        display.ended(second, result_of(second, "diverged"))
        display.failed(third, "out of memory")
        deadline = time.monotonic() + 30
        while first.name not in shown(console) and time.monotonic() < deadline:
            time.sleep(0.05)  # it is drawn by a thread
    text = shown(console)
    assert first.name in text
    assert "epoch 1/2" in text
    assert "error 12.50 %" in text
    assert "1/3 trials" in text
    assert "1 failed, 1 diverged" in text


def test_without_a_terminal_only_failures_divergences_and_notes_are_printed(plan: Plan) -> None:
    console = Console(file=io.StringIO(), width=120)
    first, second, third = plan.trials
    with Display(console, 3, 6) as display:
        for trial in plan.trials:
            display.started(trial)
        display.ended(first, result_of(first))
        result = result_of(second, "diverged").model_copy(update={"reason": "its loss was nan"})
        display.ended(second, result)
        display.failed(third, "out of memory")
        display.note("a note")
    assert shown(console).splitlines() == [
        f"diverged: {second.name}: its loss was nan",
        f"failed: {third.name}: out of memory",
        "a note",
    ]


@pytest.mark.parametrize(("height", "names", "more"), [(5, 3, ""), (4, 1, "and 2 more")])
def test_a_terminal_shows_as_many_running_trials_as_it_has_lines(
    plan: Plan, height: int, names: int, more: str
) -> None:
    console = Console(file=io.StringIO(), width=120, height=height, color_system=None)
    display = Display(console, 3, 6)
    for trial in plan.trials:
        display.started(trial)
    with console.capture() as capture:
        console.print(display._render())
    text = capture.get()
    assert sum(trial.name in text for trial in plan.trials) == names
    assert more in text
    assert "3 running" in text
    assert len(text.splitlines()) < height
