"""Cost of a trial, estimated from a few of its steps on this machine."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean, median

import torch
from torch import Generator, Tensor

from lossbench.assembly.build import build
from lossbench.data.images import Augment, Images
from lossbench.data.sampling import steps_per_epoch
from lossbench.data.suite_data import open_trial_data
from lossbench.evaluation.base import extract_features
from lossbench.planning.costs import Cost
from lossbench.planning.trial import Trial
from lossbench.training.loop import train
from lossbench.training.memory import keep_freed_memory, peak_memory_mib, reset_peak_memory

STEPS = 2
"""Number of training steps per round; the first round warms up and is not counted."""
MIN_ROUNDS = 2
MAX_SHARE = 0.1
"""Largest share of a trial's estimated time that is spent on probing it."""
_SPIN = """
import sys, time
start = time.perf_counter()
while (took := time.perf_counter() - start) < float(sys.argv[1]): pass
print(time.process_time() / took)
"""


class _First(Images):
    """First images of a data set."""

    def __init__(self, images: Images, count: int) -> None:
        self._images, self.labels, self.view = images, images.labels[:count], images.view
        self._all = torch.arange(len(self.labels))

    def augmented(
        self, batches: Iterable[Tensor], augmentations: Sequence[Augment], generator: Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        return self._images.augmented(batches, augmentations, generator)

    def unaugmented(
        self, chosen: Tensor | None = None, size: int | None = None
    ) -> Iterator[Tensor]:
        return self._images.unaugmented(self._all if chosen is None else chosen, size)

    def ten_crops(self, size: int) -> Iterator[Tensor]:
        raise NotImplementedError


def probe(trial: Trial, data_root: Path, device: str, seconds: float) -> Cost:
    """Estimate the cost of a trial from some of its training steps and measured images.

    Nothing is saved.

    Args:
        trial: The trial.
        data_root: Folder of the prepared data sets.
        device: `cpu` or `cuda`.
        seconds: Maximum time for the training steps, unless few rounds take longer.

    Returns:
        Cost of the whole trial on idle processors: its epochs with the measurement after each.
        Final evaluations other than the error, for instance attacks, are left out.
    """
    place = torch.device(device)
    keep_freed_memory()  # as in a trial
    torch.set_num_threads(trial.threads)
    reset_peak_memory(place)
    parts = build(trial, open_trial_data(trial, data_root), place)
    training, batch = parts.training, trial.recipe.batch_size
    few = _First(parts.train, STEPS * batch)
    steps = steps_per_epoch(len(few), batch)
    all_steps = steps_per_epoch(len(parts.train), batch)
    rounds: list[float] = []
    step_sec = 0.0
    started, started_cpu = time.perf_counter(), time.process_time()
    while len(rounds) <= MIN_ROUNDS or time.perf_counter() - started < min(
        seconds, MAX_SHARE * trial.recipe.epochs * all_steps * step_sec
    ):
        training.epochs = training.epochs_done + 1
        train(training, few, lambda epoch, metrics: rounds.append(metrics["train_time_sec"]))
        step_sec = median(rounds[1:] or rounds) / steps
    # mean instead of median: if other processes are busy, a few rounds wait long, and most do not
    step_sec = fmean(rounds[1:]) / steps
    share = (time.process_time() - started_cpu) / (time.perf_counter() - started)

    training.model.eval()
    training.head.eval()
    measured = len(parts.measured) if parts.measured is not None else 0
    if training.head.needs_class_means:
        measured += len(parts.train)
    seen = _First(parts.train, 4 * batch)
    started = time.perf_counter()
    extract_features(training.model, training.normalise, seen).sum().item()
    image_sec = (time.perf_counter() - started) / len(seen)

    epoch_sec = all_steps * step_sec + measured * image_sec
    if device == "cpu":
        epoch_sec *= min(share / trial.threads, 1.0)
    return Cost(trial.recipe.epochs * epoch_sec, peak_memory_mib(place))


def processor_share(threads: int, seconds: float = 1.0) -> float:
    """Share of a processor that each of several busy threads gets; 1 on an idle machine.

    It is measured with busy processes rather than read from the system load: schedulers and
    containers divide the processors between groups of processes, so that two threads of one group
    may get no more time than one.

    Args:
        threads: Number of threads.
        seconds: Time to keep them busy.
    """
    command = [sys.executable, "-I", "-S", "-c", _SPIN, str(seconds)]
    try:
        started = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
            for _ in range(threads)
        ]
        return min(fmean(float(process.communicate()[0]) for process in started), 1.0)
    except (OSError, ValueError):
        return 1.0  # no process can be started, so nothing is known
