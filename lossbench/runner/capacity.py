"""Number of trials that fit on a machine or a cluster at once."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lossbench.suite.schema import Resources

_ROUNDING = 1e-9
"""Tolerance of a division: three workers with a third of a GPU each fit on one GPU."""


@dataclass(frozen=True)
class Node:
    """One machine.

    Attributes:
        cpus: Number of processors.
        gpus: Number of GPUs.
    """

    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True)
class Capacity:
    """Numbers of workers and trials that fit on some nodes at once.

    Attributes:
        gpus: GPUs of each worker, possibly a fraction of one.
        workers: Number of workers.
        trials: Number of trials.
    """

    gpus: float
    workers: int
    trials: int

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"


def capacity(nodes: Sequence[Node], wanted: Resources) -> Capacity:
    """Capacity of some nodes for trials with given resources; each worker runs on one node."""
    largest = max(node.gpus for node in nodes)
    gpus = float(min(largest, 1)) if wanted.gpus == "auto" else wanted.gpus

    def fitting(node: Node) -> int:
        by_gpu = node.gpus / gpus if gpus else math.inf
        return int(min(node.cpus / wanted.cpus, by_gpu) + _ROUNDING)

    workers = sum(map(fitting, nodes))
    return Capacity(gpus, workers, workers // wanted.workers)


def this_machine(wanted: Resources) -> Capacity:
    """Capacity of this machine, at least one trial: `run` itself reports missing resources."""
    import torch  # which takes two seconds

    gpus = torch.cuda.device_count()
    found = capacity([Node(processors(), gpus)], wanted)
    return replace(found, gpus=found.gpus if gpus else 0.0, trials=max(found.trials, 1))


def processors() -> int:
    """Number of processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1
