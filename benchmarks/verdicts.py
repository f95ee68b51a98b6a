"""Error rates of the verdicts in made-up tables, by the same code as in reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lossbench.analysis.comparison import Verdicts, compare_with_reference
from lossbench.analysis.statistics import Summary

GAPS = {2: 4.0, 3: 3.0, 5: 2.0, 10: 1.3}
"""Number of seeds -> true difference that is looked for, in standard deviations of a row."""
BLOCK = 50  # tables that one process makes at a time


@dataclass(frozen=True)
class Scenario:
    """Noise of a table.

    Attributes:
        name: Name in the table.
        factor: Rows' standard deviations are log-uniform within this factor.
        per_cell: Whether the standard deviation of a row differs between columns.
        loud_row: Factor on the standard deviation of the last row.
        loud_reference: Factor on that of the reference row.
        loud_column: Factor on that of the first column.
        shape: Distribution of the noise: `normal`, `skewed` (exponential), `heavy` (t with 4
            degrees of freedom, scaled to variance 1).
        max_false: Largest share of tables with a false verdict that is acceptable.
        min_found: Smallest share of true differences found that is aimed at, in tables of 8 rows
            and 2 columns with 3 seeds.
    """

    name: str
    factor: float = 1.0
    per_cell: bool = False
    loud_row: float = 1.0
    loud_reference: float = 1.0
    loud_column: float = 1.0
    shape: str = "normal"
    max_false: float = 0.06
    min_found: float | None = None


SCENARIOS = (
    Scenario("equal spread", min_found=0.50),
    Scenario("rows within x3", factor=3),
    Scenario("rows within x9", factor=9, max_false=0.08, min_found=0.35),
    Scenario("cells within x9", factor=9, per_cell=True, max_false=0.08),
    Scenario("one row x5", loud_row=5, max_false=0.10),
    Scenario("reference x5", loud_reference=5, max_false=0.10),
    Scenario("one column x3", loud_column=3),
    Scenario("skewed", shape="skewed"),
    Scenario("heavy tails", shape="heavy"),
)


@dataclass(frozen=True)
class Rates:
    """Error rates of one test in one scenario.

    Attributes:
        scenario: Scenario.
        test: `pooled`, the test of the verdicts, or `paired`, the paired t test.
        rows, columns, seeds: Size of the table.
        tables: Number of tables of each kind.
        false: Share of tables without any difference that have a verdict.
        false_elsewhere: Share of tables with a verdict on a row without a difference, if half of
            the other rows have one.
        found: Share of these differences that are found.
    """

    scenario: Scenario
    test: str
    rows: int
    columns: int
    seeds: int
    tables: int
    false: float
    false_elsewhere: float
    found: float


def measure(
    rows: int, columns: int, seeds: int, tables: int, scenarios: Sequence[Scenario] = SCENARIOS
) -> Iterator[Rates]:
    """Error rates of both tests in every scenario.

    Args:
        rows: Number of rows, with the reference.
        columns: Number of columns.
        seeds: Number of seeds.
        tables: Number of tables of each kind.
        scenarios: Scenarios.
    """
    blocks = range(max(1, tables // BLOCK))
    with ProcessPoolExecutor() as pool:
        for scenario in scenarios:
            work = partial(_block, scenario, (columns, rows, seeds))
            counts = np.sum(list(pool.map(work, blocks)), axis=0)  # (2, 4)
            for test, (false, elsewhere, found, gaps) in zip(
                ("pooled", "paired"), counts, strict=True
            ):
                number = BLOCK * len(blocks)
                yield Rates(
                    scenario, test, rows, columns, seeds, number,
                    false / number, elsewhere / number, found / max(gaps, 1),
                )  # fmt: skip


def _block(scenario: Scenario, shape: tuple[int, int, int], block: int) -> NDArray[np.float64]:
    """Counts of each test: false, false elsewhere, found, true differences; (2, 4)."""
    rng = np.random.default_rng((block, *shape))
    columns, rows, seeds = shape
    counts = np.zeros((2, 4))
    for _ in range(BLOCK):
        values = draw(scenario, shape, rng)
        differs = np.zeros((columns, rows), bool)
        differs[:, 1:] = rng.random((columns, rows - 1)) < 0.5
        shifted = values + GAPS[seeds] * differs[..., None]
        for i, called in enumerate(_called(compare(values))):
            counts[i, 0] += called.any()
        for i, called in enumerate(_called(compare(shifted))):
            counts[i, 1:] += (
                (called & ~differs).any(), (called & differs).sum(), differs.sum()
            )  # fmt: skip
    return counts


def draw(
    scenario: Scenario, shape: tuple[int, int, int], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Values (C, R, S) of a table without differences; row 0 is the reference."""
    columns, rows, _ = shape
    if scenario.shape == "skewed":
        noise = rng.exponential(size=shape) - 1
    elif scenario.shape == "heavy":
        noise = rng.standard_t(4, size=shape) / np.sqrt(2)
    else:
        noise = rng.standard_normal(shape)
    sd = scenario.factor ** (rng.random((columns if scenario.per_cell else 1, rows)) - 0.5)
    sd = np.broadcast_to(sd, (columns, rows)).copy()
    sd[:, -1] *= scenario.loud_row
    sd[:, 0] *= scenario.loud_reference
    sd[0] *= scenario.loud_column
    common = rng.standard_normal((columns, 1, shape[2]))  # the effect of the seed
    return np.asarray(noise * sd[..., None] + common)


def compare(values: NDArray[np.float64], margin: float | None = None) -> Verdicts:
    """Verdicts of a table (C, R, S); row 0 is the reference, lower is better."""
    columns, rows, seeds = values.shape
    numbers = tuple(range(seeds))
    cells = {
        (str(c), str(r)): Summary(tuple(values[c, r].tolist()), seeds=numbers)
        for c in range(columns)
        for r in range(rows)
    }
    labels = {str(c): "0" for c in range(columns)}
    margins = None if margin is None else dict.fromkeys(labels, margin)
    return compare_with_reference(cells, "0", labels, False, margins)


def _called(verdicts: Verdicts) -> list[NDArray[np.bool_]]:
    """(C, R) cells that are called better or worse, by the pooled and by the paired test."""
    shape = len(verdicts.variants), 1 + len(verdicts.listed) // len(verdicts.variants)
    called = [np.zeros(shape, bool), np.zeros(shape, bool)]
    for verdict in verdicts.listed:
        place = int(verdict.variant), int(verdict.row)
        called[0][place] = verdict.outcome in ("better", "worse")
        called[1][place] = verdict.paired.outcome in ("better", "worse")
    return called
