"""Losses ranked across the columns of several suites."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lossbench.analysis.rank_tests import (
    average_ranks,
    columns_to_decide,
    friedman_p,
    indistinguishable_groups,
    signed_rank_p,
)
from lossbench.analysis.ranked_columns import (
    ColumnsWithCells,
    RankedColumn,
    RowsByColumn,
    find_columns,
    has_results,
    match_rows,
)
from lossbench.analysis.statistics import ALPHA, holm
from lossbench.analysis.tables import Cell
from lossbench.errors import RequestError
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults

MIN_COLUMNS = 5
"""Number of columns below which Friedman's test is left out: its approximation is not reliable."""
MAX_NAMED = 6
"""Number of items that a message lists before it counts the others."""


@dataclass(frozen=True)
class Ranked:
    """One loss across the columns.

    Attributes:
        label: Name of the loss, with its parameters if several rows of it are ranked.
        loss: Name of the loss.
        mean: Average rank; 1 is best.
        ranks: Rank in each column.
        cells: Cell in each column.
    """

    label: str
    loss: str
    mean: float
    ranks: tuple[float, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Pair:
    """Two losses, the better ranked first.

    Attributes:
        better, other: Labels of the losses.
        columns_better, columns_worse: Numbers of columns in which the first has the better or the
            worse mean.
        p: p of Wilcoxon's signed-rank test over the columns.
        p_holm: p corrected for all pairs.
    """

    better: str
    other: str
    columns_better: int
    columns_worse: int
    p: float
    p_holm: float

    @property
    def significant(self) -> bool:
        return self.p_holm <= ALPHA


@dataclass(frozen=True)
class Ranking:
    """Ranks of the losses of several suites.

    Attributes:
        plans: Plans of the suites.
        columns: Columns in the order of the suites.
        listed: Losses with a result in every column, best first.
        pairs: All pairs of these losses, in their order.
        friedman: p of Friedman's test; None with too few columns, or if all ranks are equal.
        groups: (first, last) index of losses of which no two differ significantly.
        left_out: Messages on suites and columns without results.
        unranked: Label of each other loss -> number of columns in which it has a result.
        changed: Losses whose parameters differ between columns.
    """

    plans: tuple[Plan, ...]
    columns: tuple[RankedColumn, ...]
    listed: tuple[Ranked, ...]
    pairs: tuple[Pair, ...]
    friedman: float | None
    groups: tuple[tuple[int, int], ...]
    left_out: tuple[str, ...]
    unranked: Mapping[str, int]
    changed: tuple[str, ...]

    @property
    def significant_pairs(self) -> tuple[Pair, ...]:
        return tuple(pair for pair in self.pairs if pair.significant)

    @property
    def first(self) -> tuple[str, ...]:
        """Labels of the losses with the best average rank."""
        best = self.listed[0].mean
        return tuple(row.label for row in self.listed if row.mean == best)

    @property
    def columns_to_decide(self) -> int:
        """Smallest number of columns in which any pair could differ significantly."""
        return columns_to_decide(len(self.listed))


def rank_suites(suites: Sequence[PlanWithResults], metrics: Sequence[str] = ()) -> Ranking:
    """Rank the losses by their mean over the seeds in each column, and average the ranks.

    No row is chosen by its results on a test set: see `match_rows`.

    Args:
        suites: Plan of each suite with its results.
        metrics: Names of the metrics to rank by; empty for all.

    Raises:
        RequestError: There are fewer than two losses to rank, or a metric is unknown.
    """
    found = find_columns(suites, metrics)
    columns = found.columns
    rows, changed = match_rows(found.cells)
    counts = {label: sum(map(has_results, own.values())) for label, own in rows.items()}
    ranked = {label: own for label, own in rows.items() if counts[label] == len(columns)}
    if len(ranked) < 2:
        raise RequestError(_too_few(found, counts, list(ranked)))
    scores = np.array(
        [[_score(own[i], c.higher) for own in ranked.values()] for i, c in enumerate(columns)]
    )  # (C, R), lower is better
    listed, order = _ranked(ranked, scores)
    pairs = _pairs([row.label for row in listed], scores[:, order])
    places = {row.label: place for place, row in enumerate(listed)}
    significant = {(places[p.better], places[p.other]) for p in pairs if p.significant}
    return Ranking(
        plans=tuple(suite.plan for suite in suites),
        columns=columns,
        listed=listed,
        pairs=pairs,
        friedman=friedman_p(scores) if len(columns) >= MIN_COLUMNS else None,
        groups=tuple(indistinguishable_groups([row.mean for row in listed], significant)),
        left_out=found.left_out,
        unranked={label: count for label, count in counts.items() if label not in ranked},
        changed=tuple(changed),
    )


def _ranked(ranked: RowsByColumn, scores: np.ndarray) -> tuple[tuple[Ranked, ...], list[int]]:
    """Losses by average rank, and their indices in `ranked`."""
    ranks, labels = average_ranks(scores), list(ranked)  # (C, R)
    order = sorted(range(len(labels)), key=lambda r: float(ranks[:, r].mean()))
    listed = tuple(
        Ranked(
            label=labels[r],
            loss=ranked[labels[r]][0].row.loss.name,
            mean=float(ranks[:, r].mean()),
            ranks=tuple(map(float, ranks[:, r])),
            cells=tuple(ranked[labels[r]][i] for i in range(len(scores))),
        )
        for r in order
    )
    return listed, order


def _score(cell: Cell, higher: bool) -> float:
    """Mean with the sign that makes lower better; infinite if every seed diverged."""
    mean = cell.summary.mean
    # sums in another order differ in their last bits, and equal means should tie
    return math.inf if mean is None else float(f"{-mean if higher else mean:.11g}")


def _pairs(labels: Sequence[str], scores: np.ndarray) -> tuple[Pair, ...]:
    places = list(combinations(range(len(labels)), 2))
    differences = [
        [0.0 if a == b else float(b - a) for a, b in scores[:, [i, j]].tolist()] for i, j in places
    ]
    p_values = [signed_rank_p(gap) for gap in differences]
    pairs = []
    for (i, j), gap, p, p_holm in zip(places, differences, p_values, holm(p_values), strict=True):
        better, worse = sum(d > 0 for d in gap), sum(d < 0 for d in gap)
        pairs.append(Pair(labels[i], labels[j], better, worse, p, p_holm))
    return tuple(pairs)


def _too_few(found: ColumnsWithCells, counts: Mapping[str, int], ranked: list[str]) -> str:
    columns = len(found.columns)
    listed = join_some([f"{label} ({n} of {columns})" for label, n in counts.items()])
    whole = f"only {ranked[0]} has" if ranked else "no loss has"
    every = "the 1 column" if columns == 1 else f"each of the {columns} columns"
    return (
        f"nothing to rank: {whole} a result with the same parameters in {every}; columns with a "
        f"result: {listed}"
    )


def join_some(parts: Sequence[str]) -> str:
    """The first parts, joined, and the number of the others."""
    rest = f"; and {len(parts) - MAX_NAMED} more" if len(parts) > MAX_NAMED else ""
    return "; ".join(parts[:MAX_NAMED]) + rest
