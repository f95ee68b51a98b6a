"""How long the trials of a table will take: from those that ran, or from probes."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, median

from lossbench.planning.trial import Trial
from lossbench.records import TrialResult

Cell = tuple[str, str, bool]
"""Variant, row, and whether a part is held out: trials of a cell cost the same."""


@dataclass(frozen=True)
class Cost:
    """Of one trial.

    Attributes:
        wall_time_sec: From its first step to its result.
        memory_mib: At its peak, of the process or of the GPU.
    """

    wall_time_sec: float
    memory_mib: float


@dataclass(frozen=True)
class Forecast:
    """Of the trials that are left.

    Attributes:
        trials: How many.
        wall_time_sec: Until the last has ended.
        work_sec: The sum over all trials.
        memory_mib: Of the largest trial.
        concurrent: Trials at a time.
        basis: What it rests on: cells that ran, cells probed, cells guessed from the others.
    """

    trials: int
    wall_time_sec: float
    work_sec: float
    memory_mib: float
    concurrent: int
    basis: Mapping[str, int]


def cell_of(trial: Trial) -> Cell:
    return trial.variant, trial.row, bool(trial.holdout)


class Costs:
    """What trials cost, cell by cell.

    Args:
        trials: All of the table.
        results: Of those that ran, by identity.
        device: Results of other devices tell nothing.
        probe: Measures a trial's cost; None: nothing is probed.
        enough: Whether to stop probing; the cells left are taken to cost what the others do.
    """

    def __init__(
        self,
        trials: Iterable[Trial],
        results: Mapping[str, TrialResult],
        device: str,
        probe: Callable[[Trial], Cost] | None = None,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        self._device = device
        self._known: dict[Cell, Cost] = {}
        self.basis: dict[Cell, str] = {}
        listed = list(trials)
        self.learn(listed, results)
        for trial in listed:
            cell = cell_of(trial)
            if probe and cell not in self._known and not enough():
                self._known[cell] = probe(trial)
                self.basis[cell] = "probed"

    def learn(self, trials: Iterable[Trial], results: Mapping[str, TrialResult]) -> None:
        """Take over what trials took that have run."""
        ran: dict[Cell, list[Cost]] = {}
        for trial in trials:
            result = results.get(trial.identity)
            if result and result.status == "finished" and result.device == self._device:
                ran.setdefault(cell_of(trial), []).append(cost_of(result))
        for cell, costs in ran.items():
            took = mean(cost.wall_time_sec for cost in costs)
            self._known[cell] = Cost(took, max(cost.memory_mib for cost in costs))
            self.basis[cell] = "ran"

    def __bool__(self) -> bool:
        return bool(self._known)

    def of(self, trial: Trial) -> Cost:
        """Its cell's; else the median of its column's, or of all. Not without any."""
        cell = cell_of(trial)
        if cell in self._known:
            return self._known[cell]
        column = [cost for (variant, _, _), cost in self._known.items() if variant == trial.variant]
        found = column or list(self._known.values())
        return Cost(
            median(cost.wall_time_sec for cost in found), max(cost.memory_mib for cost in found)
        )

    def forecast(self, left: Sequence[Trial], concurrent: int) -> Forecast:
        costs = [self.of(trial) for trial in left]
        basis: dict[str, int] = {}
        for cell in dict.fromkeys(map(cell_of, left)):
            kind = self.basis.get(cell, "guessed")
            basis[kind] = basis.get(kind, 0) + 1
        ends = _ends([cost.wall_time_sec for cost in costs], concurrent)
        return Forecast(
            trials=len(left),
            wall_time_sec=max(ends, default=0.0),
            work_sec=sum(cost.wall_time_sec for cost in costs),
            memory_mib=max((cost.memory_mib for cost in costs), default=0.0),
            concurrent=concurrent,
            basis=basis,
        )

    def fitting(self, left: Sequence[Trial], concurrent: int, seconds: float) -> list[Trial]:
        """Those that can be expected to end in time, in the order given."""
        free = [0.0] * concurrent
        chosen = []
        for trial in left:
            end = free[0] + self.of(trial).wall_time_sec
            if end <= seconds:
                heapq.heapreplace(free, end)
                chosen.append(trial)
        return chosen


def cost_of(result: TrialResult) -> Cost:
    """What a trial took, its measurements between the epochs included."""
    times = [record.timestamp_ms / 1000 for record in result.history]
    wall = result.wall_time_sec
    if len(times) > 1:  # a median, since a trial may have waited or been broken off in between
        wall = max(wall, median(end - start for start, end in pairwise(times)) * len(times))
    return Cost(wall, result.peak_memory_mib)


def _ends(lengths: Iterable[float], concurrent: int) -> list[float]:
    """When each ends, if the next one always takes the place that is free first."""
    free = [0.0] * concurrent
    ends = []
    for length in lengths:
        ends.append(free[0] + length)
        heapq.heapreplace(free, ends[-1])
    return ends
