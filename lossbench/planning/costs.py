"""Costs of trials, measured on earlier trials or by probes, and forecasts for a table."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, median

from lossbench.planning.trial import Trial
from lossbench.records import TrialResult

Cell = tuple[str, str, bool]
"""(variant, row, whether a part is held out); trials of a cell have similar costs."""


@dataclass(frozen=True)
class Cost:
    """Cost of one trial.

    Attributes:
        wall_time_sec: Duration of the training with the measurement after each epoch; without the
            evaluations after the last one.
        memory_mib: Peak memory of the process or of the GPU.
    """

    wall_time_sec: float
    memory_mib: float


@dataclass(frozen=True)
class Forecast:
    """Forecast for the remaining trials.

    Attributes:
        trials: Number of trials.
        wall_time_sec: Time until the last trial has ended.
        work_sec: Sum of the times of all trials.
        memory_mib: Peak memory of the largest trial.
        concurrent: Number of trials that run at a time.
        basis: Number of cells by the origin of their costs: `ran` (a trial of the cell),
            `probed`, or `guessed` from other cells.
    """

    trials: int
    wall_time_sec: float
    work_sec: float
    memory_mib: float
    concurrent: int
    basis: Mapping[str, int]


def cell_of(trial: Trial) -> Cell:
    return trial.variant, trial.row, bool(trial.holdout)


def work_of(trial: Trial) -> str:
    """Text that is equal for trials of a column with the same work per epoch.

    Points of a tuned learning rate differ in numbers only, so that one of them has to be timed.
    """
    part = "held-out" if trial.holdout else "whole"
    loss = trial.loss.model_dump_json()
    return f"{trial.variant} {part} {trial.recipe.batch_size} {loss}"


class Costs:
    """Costs of trials by cell.

    Args:
        trials: Trials of the table.
        results: Results of the trials that were run, by identity.
        device: Device of the forecast; results from other devices are ignored.
        probe: Estimates the cost of a trial of a cell without results; None to probe nothing.
        enough: Returns whether to stop probing; the costs of the other cells are guessed.
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
        self._precision: dict[Cell, str] = {}  # of the cells with known costs
        self._by_work: dict[str, tuple[Cost, int]] = {}  # a cost and its number of epochs
        self.basis: dict[Cell, str] = {}
        listed = list(trials)
        self.add_results(listed, results)
        first = {trial.recipe.precision: trial for trial in reversed(listed)}
        for trial in (*first.values(), *listed):  # each precision is probed before time is up
            cell, work = cell_of(trial), work_of(trial)
            if probe and cell not in self._known and work not in self._by_work and not enough():
                self._known[cell] = probe(trial)
                self._by_work[work] = self._known[cell], trial.recipe.epochs
                self._precision[cell] = trial.recipe.precision
                self.basis[cell] = "probed"

    def add_results(self, trials: Iterable[Trial], results: Mapping[str, TrialResult]) -> None:
        """Add the costs of trials that were run."""
        ran: dict[Cell, list[Cost]] = {}
        first: dict[Cell, Trial] = {}
        for trial in trials:
            result = results.get(trial.identity)
            if result and result.status == "finished" and result.device == self._device:
                ran.setdefault(cell_of(trial), []).append(cost_of(result))
                first.setdefault(cell_of(trial), trial)
        for cell, costs in ran.items():
            duration = mean(cost.wall_time_sec for cost in costs)
            self._known[cell] = Cost(duration, max(cost.memory_mib for cost in costs))
            one = first[cell]
            self._by_work[work_of(one)] = self._known[cell], one.recipe.epochs
            self._precision[cell] = one.recipe.precision
            self.basis[cell] = "ran"

    def __bool__(self) -> bool:
        return bool(self._known)

    def cost_of_trial(self, trial: Trial) -> Cost:
        """Cost of a trial: that of its cell, or of a cell with the same work, if one is known.

        Otherwise the median time and the largest memory of the known cells of its column, of those
        with its precision, or of all. At least one cost must be known.
        """
        cell = cell_of(trial)
        if cell in self._known:
            return self._known[cell]
        if (found := self._by_work.get(work_of(trial))) is not None:
            cost, epochs = found
            ratio = trial.recipe.epochs / epochs
            return Cost(cost.wall_time_sec * ratio, cost.memory_mib)
        column = [cost for (variant, _, _), cost in self._known.items() if variant == trial.variant]
        precision = trial.recipe.precision
        alike = [cost for cell, cost in self._known.items() if self._precision[cell] == precision]
        similar = column or alike or list(self._known.values())
        return Cost(
            median(cost.wall_time_sec for cost in similar),
            max(cost.memory_mib for cost in similar),
        )

    def forecast(self, left: Sequence[Trial], concurrent: int) -> Forecast:
        """Forecast for trials.

        Args:
            left: The remaining trials.
            concurrent: Number of trials that run at a time.
        """
        costs = [self.cost_of_trial(trial) for trial in left]
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

    def select_within(self, left: Sequence[Trial], concurrent: int, seconds: float) -> list[Trial]:
        """The trials that are expected to end within a time limit, in the given order."""
        free = [0.0] * concurrent
        chosen = []
        for trial in left:
            end = free[0] + self.cost_of_trial(trial).wall_time_sec
            if end <= seconds:
                heapq.heapreplace(free, end)
                chosen.append(trial)
        return chosen


def cost_of(result: TrialResult) -> Cost:
    """Cost of a finished trial, including the measurements after its epochs."""
    times = [record.timestamp_ms / 1000 for record in result.history]
    wall = result.wall_time_sec
    if len(times) > 1:  # a median, because a trial may have waited or been interrupted
        wall = max(wall, median(end - start for start, end in pairwise(times)) * len(times))
    return Cost(wall, result.peak_memory_mib)


def _ends(lengths: Iterable[float], concurrent: int) -> list[float]:
    """End times if each trial starts as soon as one of the concurrent trials has ended."""
    free = [0.0] * concurrent
    ends = []
    for length in lengths:
        ends.append(free[0] + length)
        heapq.heapreplace(free, ends[-1])
    return ends
