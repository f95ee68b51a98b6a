"""Command `gpu`: correctness, speed, and as many trainings of a table as fit into some minutes."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.environment import environment

SHARES = {"correctness": 0.25, "speed": 0.45, "throughput": 0.55}
"""Part of the command -> share of the time at which it ends; the rest is for the table."""
COUNTS = (1, 2, 4, 8)
"""Numbers of trainings at a time whose speed is measured."""
TIMED_SEC = 5.0
"""Duration of each of these measurements."""


def gpu(
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="Duration of the command.")] = 9.0,
    data_root: Annotated[Path, typer.Option(help="Folder of the prepared data.")] = Path("data"),
    device: Annotated[str, typer.Option(help="Device; cpu to try the command.")] = "cuda",
    suite: Annotated[Path, typer.Option(help="Suite to train.")] = Path("suites/mnist.yaml"),
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the suite.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 8,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the comparison.")] = 40,
    rounds: Annotated[int, typer.Option(min=1, help="How often every mode is timed.")] = 5,
) -> None:
    """Compare a GPU with the CPU, time its modes, and train a table in the rest of the time.

    Each part writes its results into the folder as soon as it ends.
    """
    from benchmarks import gpu as of_gpu

    if device != "cpu" and not torch.cuda.is_available():
        raise typer.BadParameter("torch finds no GPU", param_hint="--device")
    started = time.monotonic()
    ends = {part: started + 60 * minutes * share for part, share in SHARES.items()}
    out.mkdir(parents=True, exist_ok=True)
    folder, at_once = out / "correctness", min(processes, 3)
    agreements = of_gpu.measure_agreement(folder, device, epochs, at_once, ends["correctness"])
    _write(out / "correctness.json", list(map(asdict, agreements)))
    speeds = of_gpu.measure_speed(torch.device(device), rounds, ends["speed"])
    _write(out / "speed.json", list(map(asdict, speeds)))
    counts = [count for count in COUNTS if count <= processes]
    together = of_gpu.measure_throughput(device, counts, TIMED_SEC, ends["throughput"])
    _write(out / "throughput.json", list(map(asdict, together)))
    options = [text for setting in settings or [] for text in ("--set", setting)]
    options += ["--data-root", str(data_root), "--device", device]
    of_gpu.train_table(out / "table", suite, options, processes, started + 60 * minutes)


def _write(path: Path, measured: object) -> None:
    """Write numbers with the environment to a JSON file."""
    text = json.dumps({"environment": environment(), "measured": measured}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
