"""`lossbench plan`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


def test_plan_shows_cells_and_trials_and_writes_nothing(run: Run, write_suite: Write) -> None:
    arguments = ("plan", write_suite(), "--only", "lgm*", "--seeds", "0,5")
    code, out, _ = run(*arguments, "--probe", "0.1")
    assert code == 0
    assert [line.split() for line in out.splitlines()[1:3]] == [
        ["lgm(alpha=0)", "0/2", "0/2"],
        ["lgm(alpha=0.3)", "0/2", "0/2"],
    ]
    assert re.search(r"about \d.* here \(cpu, .* CPU-hours", out)
    code, out, _ = run(*arguments, "--trials")
    lines = [line.split() for line in out.splitlines()]
    assert [(line[1], line[2]) for line in lines[1:5]] == [
        ("lgm(alpha=0)", "0"),
        ("lgm(alpha=0.3)", "0"),
        ("lgm(alpha=0)", "5"),
        ("lgm(alpha=0.3)", "5"),
    ]
    assert lines[-1][:2] == ["4", "trials,"]
    assert list(Path().iterdir()) == []


def test_plan_says_how_many_trainings_deciding_takes(
    run: Run, write_suite: Write, store: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    suite = write_suite()
    arguments = ("plan", suite, "--set", "reference=softmax", "--until-decided", "--probe", "0")
    _, out, _ = run(*arguments)
    assert "6 trials, 6 to train" in out
    words = " ".join(out.split())  # lines break by the width of the terminal
    assert "how many follow depends on their results: at most 60 in all" in words
    store(suite, "reference=softmax")
    _, out, _ = run(*arguments, "--max-seeds", "9", "--format", "json")
    content = json.loads(out)
    assert content["until_decided"] == {
        "max_seeds": 9,
        "expected_trainings": None,  # the made-up differences are the same for every seed
        "most_trainings": 27,
    }
    assert content["coming"] == 27 - 6


def test_an_audit_fails_if_rows_are_tuned_unequally(
    run: Run, write_suite: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    suite = write_suite()
    code, out, _ = run("plan", suite, "--audit")
    assert code == 0
    assert "warning  lgm: 2 rows, all measured on the test set" in out
    assert "audit passed" in out
    losses = "losses=[center, lgm: {alpha: {grid: [0.1, 1]}}]"
    arguments = ["--set", "selection={holdout: 0.2}", "--set", losses]
    code, out, _ = run("plan", suite, "--audit", *arguments)
    assert code == 1
    assert "fails   tuning budget" in out
    assert "audit failed: 1 avoidable difference; 0 of 6 trials trained" in out
    assert list(Path().iterdir()) == []
