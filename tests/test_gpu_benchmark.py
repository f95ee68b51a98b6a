"""The GPU benchmark, tried on the CPU with small sizes."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
import torch

from benchmarks import gpu


def test_errors_agree_unless_they_differ_by_more_than_seeds_do() -> None:
    assert gpu.compare("gpu", "softmax", [1.0, 1.2, 1.1], [1.1, 1.0, 1.2]).agrees
    assert not gpu.compare("gpu", "softmax", [1.0, 1.2, 1.1], [3.1, 3.0, 3.2]).agrees
    assert gpu.compare("gpu", "softmax", [2.0, 2.0], [2.0, 2.0]).agrees
    assert not gpu.compare("gpu", "softmax", [2.0, 2.0], [2.5, 2.5]).agrees
    assert not gpu.compare("gpu", "softmax", [1.0, 1.2], [math.nan, 1.1]).agrees


def test_steps_of_every_eager_mode_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "BATCH", 4)
    monkeypatch.setattr(gpu, "STEPS", 1)
    eager = tuple(mode for mode in gpu.MODES if mode.compiled is None)
    assert {mode.in_loop for mode in eager} == {True, False}
    monkeypatch.setattr(gpu, "MODES", eager)
    monkeypatch.setattr(gpu, "MODELS_AND_IMAGES", {"mnist_cnn": (1, 28, 28)})
    found = list(gpu.measure_speed(torch.device("cpu"), 1, time.monotonic() + 60))
    assert [speed.mode for speed in found] == [mode.name for mode in eager]
    assert found[0].ratio == 1
    assert all(speed.milliseconds > 0 for speed in found)
    assert list(gpu.measure_speed(torch.device("cpu"), 1, time.monotonic() - 1)) == []


def test_processes_past_the_deadline_are_ended(tmp_path: Path) -> None:
    suite = gpu.CHECKED[0]
    options = ("--only", "32-D/softmax", "--set", "recipe.epochs=100000")
    started = gpu.work(tmp_path, suite, *options, shards=1)
    assert not gpu.finish(started, time.monotonic() + 0.5)
    assert all(process.poll() is not None for process in started)
