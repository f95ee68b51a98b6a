"""Measurements of a GPU: agreement with the CPU, speed of several modes, trainings at a time."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import fmean

import torch
from scipy.stats import ttest_ind
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.step import MODELS_AND_IMAGES, training_of
from benchmarks.timing import take_turns
from lossbench.archive.reading import Archive
from lossbench.data.images import ArrayImages
from lossbench.models import MODELS
from lossbench.training.loop import train

ROOT = Path(__file__).resolve().parents[1]
BATCH, CLASSES, STEPS = 128, 10, 10
CHECKED = (ROOT / "suites" / "digits.yaml", "32-D/*softmax")
"""Suite and cells that are trained on both devices: softmax and l_softmax."""


@dataclass(frozen=True)
class Mode:
    """A way to run training steps.

    Attributes:
        name: Name.
        in_loop: Whether lossbench's training loop runs them, instead of a bare loop; not compiled,
            because each call of the loop compiles anew (`python -m benchmarks precision`).
        bfloat16, channels_last: Type and memory layout.
        compiled: Mode of torch.compile; None: not compiled. `reduce-overhead` captures graphs.
    """

    name: str
    in_loop: bool = False
    bfloat16: bool = False
    channels_last: bool = False
    compiled: str | None = None

    @property
    def autocast(self) -> torch.dtype | None:
        return torch.bfloat16 if self.bfloat16 else None


MODES = (
    Mode("bare loop"),
    Mode("lossbench", in_loop=True),
    Mode("lossbench, bfloat16", in_loop=True, bfloat16=True),
    Mode("channels-last", channels_last=True),
    Mode("bfloat16", bfloat16=True),
    Mode("compiled", compiled="default"),
    Mode("compiled, captured graphs", compiled="reduce-overhead"),
    Mode("all", bfloat16=True, channels_last=True, compiled="reduce-overhead"),
)


@dataclass(frozen=True)
class Speed:
    """Speed of a mode.

    Attributes:
        model, mode: Names.
        milliseconds: Median time per step of 128 images.
        ratio: Time divided by that of the bare loop in the same round.
    """

    model: str
    mode: str
    milliseconds: float
    ratio: float


@dataclass(frozen=True)
class Agreement:
    """Test errors of a row on the device, compared with those on the CPU.

    Attributes:
        run: Name of the run: `gpu`, `gpu, bfloat16`, `gpu, compiled`.
        row: Name of the row.
        cpu, gpu: Test errors of the seeds, in percent.
        p: p-value of a t test of the difference; None if no value varies.
        agrees: Whether p is at least 0.05, or all values are the same.
    """

    run: str
    row: str
    cpu: list[float]
    gpu: list[float]
    p: float | None
    agrees: bool


def compare(run: str, row: str, cpu: Sequence[float], gpu: Sequence[float]) -> Agreement:
    """Compare the errors of a row on two devices."""
    if len(set(cpu)) == len(set(gpu)) == 1:
        return Agreement(run, row, list(cpu), list(gpu), None, fmean(cpu) == fmean(gpu))
    p = float(ttest_ind(cpu, gpu).pvalue)
    return Agreement(run, row, list(cpu), list(gpu), p, p >= 0.05)


def work(output: Path, suite: Path, *options: str, shards: int) -> list[subprocess.Popen[bytes]]:
    """Start processes of `lossbench work` that share the trials of a suite."""
    output.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "lossbench.cli", "work", str(suite), "--yes"]
    command += ["--output", str(output), *options]
    return [
        subprocess.Popen([*command, "--shard", f"{number}/{shards}"])
        for number in range(1, shards + 1)
    ]


def finish(processes: Sequence[subprocess.Popen[bytes]], deadline: float) -> bool:
    """Wait for processes, and terminate them at the deadline; return whether all succeeded."""
    try:
        codes = [p.wait(max(deadline - time.monotonic(), 0.1)) for p in processes]
    except subprocess.TimeoutExpired:
        return False
    else:
        return not any(codes)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def errors(folder: Path) -> dict[str, list[float]]:
    """Test errors in the archives of a folder by row, in the order of the seeds."""
    found: dict[str, dict[int, float]] = {}
    for path in folder.glob("*.zip"):
        archive = Archive(path)
        for identity, trial in archive.trials.items():
            value = archive.results[identity].metrics.get("error", float("nan"))
            found.setdefault(trial.row, {})[trial.seed] = value
    return {row: [of[seed] for seed in sorted(of)] for row, of in found.items()}


def measure_agreement(
    out: Path, device: str, epochs: int, processes: int, deadline: float
) -> Iterator[Agreement]:
    """Train the same cells on the CPU and, several at a time, on the device.

    Args:
        out: Folder for the archives.
        device: `cuda`; or `cpu`, to try this without a GPU.
        epochs: Number of epochs.
        processes: Number of processes on the device at a time.
        deadline: Time at which it ends.
    """
    suite, only = CHECKED
    shared = ("--only", only, "--seeds", "0,1,2", "--set", f"recipe.epochs={epochs}")
    settings = {
        "cpu": ("--device", "cpu"),
        "gpu": ("--device", device),
        "gpu, bfloat16": ("--device", device, "--set", "recipe.precision=bfloat16"),
        "gpu, compiled": ("--device", device, "--set", "recipe.compile=true"),
    }
    on_cpu: Mapping[str, list[float]] = {}
    for run, options in settings.items():
        folder = out / run.replace(", ", "_")
        if not finish(work(folder, suite, *shared, *options, shards=processes), deadline):
            continue
        found = errors(folder)
        if run == "cpu":
            on_cpu = found
        for row in sorted(found.keys() & on_cpu.keys()) if run != "cpu" else ():
            yield compare(run, row, on_cpu[row], found[row])


def measure_speed(device: torch.device, rounds: int, deadline: float) -> Iterator[Speed]:
    """Time the steps of each model in all modes, in turns.

    Args:
        device: Device to measure on.
        rounds: Number of rounds.
        deadline: Time after which no further mode is prepared, which may compile for a minute.
    """
    for model, shape in MODELS_AND_IMAGES.items():
        steps: dict[str, Callable[[], None]] = {}
        for mode in MODES:
            if time.monotonic() > deadline:
                break
            steps[mode.name] = stepper(model, shape, mode, device)
            steps[mode.name]()
        for name, found in (take_turns(steps, rounds, 0.2) if steps else {}).items():
            yield Speed(model, name, 1000 * found.median_sec / STEPS, found.ratio)


def stepper(
    model: str, shape: tuple[int, int, int], mode: Mode, device: torch.device
) -> Callable[[], None]:
    """Function that takes some training steps of a mode and waits for the device."""
    steps = _loop(model, shape, mode, device) if mode.in_loop else _bare(model, shape, mode, device)

    def call() -> None:
        steps()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return call


def _loop(
    model: str, shape: tuple[int, int, int], mode: Mode, device: torch.device
) -> Callable[[], None]:
    channels, height, width = shape
    count = BATCH * STEPS
    pixels = torch.randint(256, (count, height, width, channels), dtype=torch.uint8)
    data = ArrayImages(pixels.to(device), (torch.arange(count) % CLASSES).to(device))
    training = training_of(model, shape, "softmax", BATCH, device)
    training.autocast = mode.autocast

    def epoch() -> None:
        training.epochs = training.epochs_done + 1
        train(training, data, lambda number, metrics: None)

    return epoch


def _bare(
    model: str, shape: tuple[int, int, int], mode: Mode, device: torch.device
) -> Callable[[], None]:
    torch.manual_seed(0)
    backbone = MODELS[model].create(shape)
    network = nn.Sequential(backbone, nn.Linear(backbone.feature_dim, CLASSES)).to(device)
    layout = torch.channels_last if mode.channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)  # type: ignore[call-overload]
    images = torch.rand(BATCH, *shape, device=device).to(memory_format=layout)
    labels = torch.arange(BATCH, device=device) % CLASSES
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def loss_of(batch: Tensor) -> Tensor:
        with torch.autocast(device.type, mode.autocast, mode.bfloat16):
            scores = network(batch)
        return F.cross_entropy(scores.float(), labels)

    forward = loss_of if mode.compiled is None else torch.compile(loss_of, mode=mode.compiled)

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            forward(images).backward()
            optimizer.step()

    return steps


@dataclass(frozen=True)
class Throughput:
    """Images per second of several trainings at a time on one device, all together."""

    trainings: int
    images_per_sec: float


def measure_throughput(
    device: str, counts: Sequence[int], seconds: float, deadline: float
) -> Iterator[Throughput]:
    """Train with lossbench's loop in several processes at the same time.

    Args:
        device: Device of all processes.
        counts: Numbers of processes.
        seconds: Duration of the timed part.
        deadline: Time after which no further number is measured.
    """
    spawn = multiprocessing.get_context("spawn")
    for count in counts:
        if time.monotonic() > deadline:
            return
        with ProcessPoolExecutor(count, spawn, _join, (spawn.Barrier(count),)) as pool:
            arguments = ([device] * count, [seconds] * count)
            yield Throughput(count, sum(pool.map(_images_per_sec, *arguments)))


_together: list[Barrier] = []
"""Barrier of this process, at which all processes start to be timed."""


def _join(barrier: Barrier) -> None:
    _together.append(barrier)


def _images_per_sec(device: str, seconds: float) -> float:
    torch.set_num_threads(1)
    model = "mnist_cnn"
    call = stepper(model, MODELS_AND_IMAGES[model], MODES[1], torch.device(device))
    call()
    _together[0].wait()
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        call()
        calls += 1
    return calls * STEPS * BATCH / (time.perf_counter() - started)


def train_table(
    out: Path, suite: Path, options: Sequence[str], processes: int, deadline: float
) -> None:
    """Train a table in several processes; each finished training is an archive in the folder."""
    minutes = max(deadline - time.monotonic(), 0) / 60
    started = work(out, suite, *options, "--minutes", f"{minutes:.2f}", shards=processes)
    finish(started, deadline + 30)  # an epoch that has begun is finished
