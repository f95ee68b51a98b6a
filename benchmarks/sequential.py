"""Error rates and numbers of trainings of `run --until-decided` in made-up tables."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.verdicts import SCENARIOS, Scenario, compare, draw
from lossbench.analysis.comparison import Verdict
from lossbench.analysis.sequential import LookPlan, decide
from lossbench.analysis.statistics import Summary

COLUMNS, ROWS = 2, 8
FIRST, LIMIT = 3, 20
"""Seeds of the first look, and at most; one seed is added before each further look."""
MARGIN = 1.5
"""Margin of equivalence in standard deviations of a row; on digits and MNIST the standard error of
the test set is about as large."""
MAX_ERROR = 0.06
"""Largest share of tables with a false verdict that is acceptable (0.05 and simulation noise)."""
MAX_SHARE = 0.60
"""Largest ratio of trainings to those of a fixed number of seeds that is aimed at."""
MOST_FIXED = 30  # seeds of a design with a fixed number
BLOCK = 25  # tables that one process makes at a time
PLAN = LookPlan("error", LIMIT, (tuple(range(FIRST)), *((n,) for n in range(FIRST, LIMIT))))
NOISE = tuple(
    scenario
    for scenario in SCENARIOS
    if scenario.name in ("equal spread", "rows within x3", "rows within x9", "skewed")
)
Gaps = NDArray[np.float64]
"""(C, R - 1) true differences to the reference, in standard deviations of a row."""


@dataclass(frozen=True)
class ErrorRates:
    """Shares of tables with a false verdict at any look.

    Attributes:
        noise: Noise of the table.
        tables: Number of tables of each kind.
        false: Share of tables without differences that call a row better or worse.
        false_elsewhere: The same for rows without a difference, if half of the rows have one of 3
            standard deviations.
        equivalent: Share of tables that call a row equivalent whose difference is the margin, if
            all rows have this difference.
        equivalent_elsewhere: The same if half of the rows have it, and the others 3 times as much.
    """

    noise: Scenario
    tables: int
    false: float
    false_elsewhere: float
    equivalent: float
    equivalent_elsewhere: float


@dataclass(frozen=True)
class Savings:
    """Trainings until every row is decided, and with a fixed number of seeds.

    Attributes:
        name: Name of the true differences.
        gaps: True differences of the rows of each column.
        tables: Number of tables.
        max_share: Ratio of trainings that is aimed at; None: none.
        power: Share of comparisons with the right verdict.
        trainings: Mean number of trainings of a table.
        looks: Mean number of looks.
        fixed_seeds: Smallest fixed number of seeds with at least this power; None above 30.
        fixed_power: Its power.
    """

    name: str
    gaps: tuple[float, ...]
    tables: int
    max_share: float | None
    power: float
    trainings: float
    looks: float
    fixed_seeds: int | None
    fixed_power: float

    @property
    def fixed_trainings(self) -> int | None:
        return COLUMNS * ROWS * self.fixed_seeds if self.fixed_seeds else None

    @property
    def share(self) -> float | None:
        """Trainings relative to those of the fixed number of seeds."""
        return self.trainings / self.fixed_trainings if self.fixed_trainings else None


TRUE_GAPS = {
    "mixed": (0.0, 0.0, 1.5, 2.0, 3.0, 4.0, 6.0),
    "mixed, with small ones": (0.0, 0.3, 0.75, 1.0, 2.0, 3.0, 4.0),
    "all 0": (0.0,) * 7,
    "all 2": (2.0,) * 7,
    "all 3": (3.0,) * 7,
    "all 4": (4.0,) * 7,
}


def measure_errors(tables: int, noise: Sequence[Scenario] = NOISE) -> Iterator[ErrorRates]:
    """Error rates for every kind of noise."""
    blocks = range(max(1, tables // BLOCK))
    with ProcessPoolExecutor() as pool:
        for scenario in noise:
            counts = np.sum(list(pool.map(partial(_count_errors, scenario), blocks)), axis=0)
            number = BLOCK * len(blocks)
            yield ErrorRates(scenario, number, *(float(c) / number for c in counts))


def measure_savings(tables: int) -> Iterator[Savings]:
    """Trainings and power for all true differences, with normal noise of equal spread."""
    blocks = range(max(1, tables // BLOCK))
    number = BLOCK * len(blocks)
    with ProcessPoolExecutor() as pool:
        for name, gaps in TRUE_GAPS.items():
            found = list(pool.map(partial(_run_until_decided, gaps), blocks))
            power, trainings, looks = (float(x) for x in np.mean(found, axis=0))

            def fixed(seeds: int, gaps: tuple[float, ...] = gaps) -> float:
                return float(np.mean(list(pool.map(partial(_run_fixed, gaps, seeds), blocks))))

            numbers = range(2, MOST_FIXED + 1)
            index = bisect_left(numbers, power, key=fixed)
            seeds = numbers[index] if index < len(numbers) else None
            yield Savings(
                name=name,
                gaps=gaps,
                tables=number,
                max_share=MAX_SHARE if name == "mixed" else None,
                power=power,
                trainings=trainings,
                looks=looks,
                fixed_seeds=seeds,
                fixed_power=fixed(seeds or MOST_FIXED),
            )


def _count_errors(noise: Scenario, block: int) -> NDArray[np.int64]:
    """Numbers of tables with each error of `ErrorRates`."""
    rng = np.random.default_rng((7, block))
    counts = np.zeros(4, int)
    for _ in range(BLOCK):
        values = draw(noise, (COLUMNS, ROWS, LIMIT), rng)
        half = rng.random((COLUMNS, ROWS - 1)) < 0.5
        cases = [
            (np.zeros(half.shape), None, _is_false),
            (np.where(half, 3.0, 0.0), None, _is_false),
            (np.full(half.shape, MARGIN), MARGIN, _is_falsely_equivalent),
            (np.where(half, 3 * MARGIN, MARGIN), MARGIN, _is_falsely_equivalent),
        ]
        for i, (gaps, margin, is_wrong) in enumerate(cases):
            counts[i] += any(
                is_wrong(decision, gaps[place])
                for place, decision, _ in _decide(values, gaps, margin)
            )
    return counts


def _is_false(verdict: Verdict, gap: float) -> bool:
    return gap == 0 and verdict.outcome in ("better", "worse")


def _is_falsely_equivalent(verdict: Verdict, gap: float) -> bool:
    return gap >= MARGIN and verdict.outcome == "equivalent"


def _is_right(verdict: Verdict, gap: float) -> bool:
    """Below the margin both `equivalent` and the right direction are right."""
    return (verdict.outcome == "worse" and gap > 0) or (
        verdict.outcome == "equivalent" and gap < MARGIN
    )


def _decide(
    values: NDArray[np.float64], gaps: Gaps, margin: float | None
) -> Iterator[tuple[tuple[int, int], Verdict, int]]:
    """(column, row - 1), verdict and number of seeds of every comparison, by the real code."""
    shifted = values.copy()
    shifted[:, 1:] += gaps[..., None]
    columns, rows, seeds = shifted.shape
    cells = {
        (str(c), str(r)): Summary(tuple(shifted[c, r].tolist()), seeds=tuple(range(seeds)))
        for c in range(columns)
        for r in range(rows)
    }
    labels = {str(c): "0" for c in range(columns)}
    margins = None if margin is None else dict.fromkeys(labels, margin)
    found = decide(cells, PLAN, "0", labels, False, margins)
    for decision in found.decisions:
        place = int(decision.variant), int(decision.row) - 1
        stopped = found.looks - 1 if decision.look is None else decision.look
        yield place, decision.verdict, PLAN.n_at(stopped)


def _tables(gaps: tuple[float, ...], block: int) -> Iterator[tuple[NDArray[np.float64], Gaps]]:
    rng = np.random.default_rng((8, block))
    for _ in range(BLOCK):
        yield draw(NOISE[0], (COLUMNS, ROWS, MOST_FIXED), rng), np.tile(gaps, (COLUMNS, 1))


def _run_until_decided(gaps: tuple[float, ...], block: int) -> tuple[float, float, float]:
    """Share of right verdicts, mean number of trainings and mean number of looks."""
    right, trainings, looks = [], [], []
    for values, differences in _tables(gaps, block):
        seeds = np.zeros((COLUMNS, ROWS), int)
        for place, verdict, n in _decide(values[..., :LIMIT], differences, MARGIN):
            right.append(_is_right(verdict, differences[place]))
            seeds[place[0], place[1] + 1] = n
        seeds[:, 0] = seeds.max(1)  # the reference gets as many seeds as the last row
        trainings.append(seeds.sum())
        looks.append(seeds.max() - FIRST + 1)
    return float(np.mean(right)), float(np.mean(trainings)), float(np.mean(looks))


def _run_fixed(gaps: tuple[float, ...], seeds: int, block: int) -> float:
    """Share of right verdicts with a fixed number of seeds."""
    right = []
    for values, differences in _tables(gaps, block):
        shifted = values[..., :seeds].copy()
        shifted[:, 1:] += differences[..., None]
        for verdict in compare(shifted, MARGIN).listed:
            gap = differences[int(verdict.variant), int(verdict.row) - 1]
            right.append(_is_right(verdict, gap))
    return float(np.mean(right))
