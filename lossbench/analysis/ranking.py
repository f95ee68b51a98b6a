"""Losses ranked across the columns of several suites."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import rankdata

from lossbench.analysis.provenance import describe_changes, describe_more_seeds
from lossbench.analysis.rank_tests import cliques, columns_to_decide, friedman_p, signed_rank_p
from lossbench.analysis.statistics import ALPHA, holm
from lossbench.analysis.tables import Cell, Table, make_tables
from lossbench.errors import RequestError
from lossbench.planning.selection import PlanWithResults

FEWEST_COLUMNS = 5
"""Below this many no pair can be told apart, and Friedman's approximation is not to be trusted."""
MOST_NAMED = 6


@dataclass(frozen=True)
class RankedColumn:
    """One suite x variant x metric.

    Attributes:
        suite, variant, metric: Names.
        label: `mnist · 2-D · error`.
        unit: Of the values; empty where there is none.
        higher: Whether higher is better.
        changes: Differences of the suite from its file; see `Plan`.
    """

    suite: str
    variant: str
    metric: str
    label: str
    unit: str
    higher: bool
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ranked:
    """One loss across the columns.

    Attributes:
        label: Its name, with its parameters where several rows of it are ranked.
        loss: Its name.
        mean: Average rank, 1 for the best.
        ranks: In each column.
        cells: Likewise.
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
        better, other: Labels.
        wins, losses: Columns in which the first has the better, the worse mean.
        p: Of Wilcoxon's signed-rank test over the columns.
        p_holm: Corrected for all pairs.
    """

    better: str
    other: str
    wins: int
    losses: int
    p: float
    p_holm: float

    @property
    def apart(self) -> bool:
        return self.p_holm <= ALPHA


@dataclass(frozen=True)
class Ranking:
    """What several suites say about their losses.

    Attributes:
        columns: In the order of the suites.
        listed: The losses that have a result in every column, best first.
        pairs: All of them, in the order of the losses.
        friedman: p that all rank alike; None with too few columns, or where nothing tells.
        together: (first, last) of the losses of which no two are told apart.
        warnings: What is missing or left out, each one line.
        notes: What the numbers mean, each one line.
    """

    columns: tuple[RankedColumn, ...]
    listed: tuple[Ranked, ...]
    pairs: tuple[Pair, ...]
    friedman: float | None
    together: tuple[tuple[int, int], ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def decided(self) -> tuple[Pair, ...]:
        return tuple(pair for pair in self.pairs if pair.apart)

    @property
    def first(self) -> str:
        """The loss with the best average rank, or those that share it."""
        best = self.listed[0].mean
        return ", ".join(row.label for row in self.listed if row.mean == best)

    @property
    def answer(self) -> str:
        """The whole in a sentence, of `first`."""
        best, n = self.listed[0], len(self.columns)
        head = f"average rank {best.mean:.2f} of {len(self.listed)} in {_count(n, 'column')}"
        beaten = [pair.other for pair in self.decided if pair.better == best.label]
        if beaten:
            return f"{head}; better than {', '.join(beaten)}"
        if n < self.needed:
            return f"{head}; too few columns to tell any two losses apart"
        return f"{head}; told apart from none of the others"

    @property
    def needed(self) -> int:
        """Fewest columns in which any pair could be told apart."""
        return columns_to_decide(len(self.listed))


Entries = dict[str, dict[int, Cell]]
"""Label -> cell by the column's place."""


def rank_suites(suites: Sequence[PlanWithResults], metrics: Sequence[str] = ()) -> Ranking:
    """Rank the losses by their mean over the seeds in each column, and average the ranks.

    No row is ever chosen by its results on the test set. A loss that has one row in every
    column, named by the suite or chosen on the held-out part, counts as that loss. Of a loss
    with several rows somewhere those are ranked that have the same parameters in every column.

    Args:
        suites: The plan of each suite with its results.
        metrics: Names of those to rank by; empty for all.

    Raises:
        RequestError: There are not two losses to rank, or a metric is unknown.
    """
    columns, cells, warnings = _columns(suites, metrics)
    entries, changed = _entries(cells)
    ranked = {
        label: own
        for label, own in entries.items()
        if all(i in own and _measured(own[i]) for i in range(len(columns)))
    }
    lacking = [label for label in entries if label not in ranked]
    if len(ranked) < 2:
        raise RequestError(_too_few(columns, entries, list(ranked)))
    if lacking:
        warnings.append(
            "not ranked, for want of a result with the same parameters in every column: "
            + _named([_lack(label, entries[label], columns) for label in lacking])
        )
    warnings += _incomplete(columns, ranked)
    scores = np.array(
        [[_score(own[i], c.higher) for own in ranked.values()] for i, c in enumerate(columns)]
    )  # (C, R), lower is better
    ranks = rankdata(scores, axis=1)
    order = sorted(range(len(ranked)), key=lambda r: float(ranks[:, r].mean()))
    labels = list(ranked)
    listed = tuple(
        Ranked(
            label=labels[r],
            loss=ranked[labels[r]][0].row.loss.name,
            mean=float(ranks[:, r].mean()),
            ranks=tuple(map(float, ranks[:, r])),
            cells=tuple(ranked[labels[r]][i] for i in range(len(columns))),
        )
        for r in order
    )
    pairs = _pairs([labels[r] for r in order], scores[:, order])
    places = {row.label: place for place, row in enumerate(listed)}
    apart = {(places[p.better], places[p.other]) for p in pairs if p.apart}
    return Ranking(
        columns=tuple(columns),
        listed=listed,
        pairs=pairs,
        friedman=friedman_p(scores) if len(columns) >= FEWEST_COLUMNS else None,
        together=tuple(cliques([row.mean for row in listed], apart)),
        warnings=tuple(warnings),
        notes=tuple(_notes(columns, len(listed), changed)),
    )


def _columns(
    suites: Sequence[PlanWithResults], metrics: Sequence[str]
) -> tuple[list[RankedColumn], list[list[Cell]], list[str]]:
    """Columns with a result, the cells of each, and what was left out."""
    known = list(dict.fromkeys(metric.name for found in suites for metric in found.plan.metrics))
    unknown = [name for name in metrics if name not in known]
    if unknown:
        raise RequestError(f"--metric {unknown[0]}: no suite has it; they have {', '.join(known)}")
    columns, cells, warnings = [], [], []
    for found in suites:
        plan = found.plan
        higher = {metric.name: metric.higher_is_better for metric in plan.metrics}
        tables = [t for t in make_tables(found) if not t.held_out]
        if not tables:
            warnings.append(f"{plan.suite.suite}: left out, nothing was chosen or tested yet")
        for table in tables:
            if metrics and table.metric not in metrics:
                continue
            for variant in table.variants:
                here = [c for c in table.cells.values() if c.variant == variant]
                if plan.compared:  # the chosen rows count as their losses
                    here = [c for c in here if c.row not in plan.compared] or here
                if not any(map(_measured, here)):
                    place = _place(table, variant)
                    warnings.append(f"{place}: left out, it has no result")
                    continue
                cells.append(here)
                columns.append(
                    RankedColumn(
                        table.suite,
                        variant,
                        table.metric,
                        _place(table, variant),
                        table.unit,
                        higher[table.metric],
                        plan.changes,
                    )
                )
    if not columns:
        raise RequestError("nothing to rank: " + "; ".join(warnings or ["no column is left"]))
    for plan in (found.plan for found in suites):
        if plan.changes:
            warnings.append(describe_changes(plan))
        if plan.more_seeds:
            warnings.append(f"{plan.suite.suite}: {describe_more_seeds(plan)}")
    return columns, cells, warnings


def _place(table: Table, variant: str) -> str:
    parts = [table.suite, *([variant] if table.has_columns else []), table.metric]
    return " · ".join(parts)


def _entries(cells: Sequence[Sequence[Cell]]) -> tuple[Entries, list[str]]:
    """Rows that mean the same in several columns; and losses whose parameters change between."""
    entries: Entries = {}
    changed = []
    for name in dict.fromkeys(cell.row.loss.name for column in cells for cell in column):
        own = [[cell for cell in column if cell.row.loss.name == name] for column in cells]
        distinct = {_params(cell): cell for column in own for cell in column}
        if all(len(column) < 2 for column in own):
            entries[name] = {i: column[0] for i, column in enumerate(own) if column}
            if len(distinct) > 1:
                changed.append(name)
            continue
        varied = [
            key
            for key in next(iter(distinct.values())).row.loss.params
            if len({json.dumps(c.row.loss.params.get(key)) for c in distinct.values()}) > 1
        ]
        for key, first in distinct.items():
            inside = ",".join(f"{k}={_value(first.row.loss.params.get(k))}" for k in varied)
            entries[f"{name}({inside})"] = {
                i: cell for i, column in enumerate(own) for cell in column if _params(cell) == key
            }
    return entries, changed


def _params(cell: Cell) -> str:
    return json.dumps(cell.row.loss.params, sort_keys=True)


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _measured(cell: Cell) -> bool:
    return cell.summary.n + cell.summary.diverged > 0


def _score(cell: Cell, higher: bool) -> float:
    """Lower is better; a row of which every seed diverged shares the last place."""
    mean = cell.summary.mean
    # sums in another order differ in their last bits, and equal means should tie
    return math.inf if mean is None else float(f"{-mean if higher else mean:.11g}")


def _pairs(labels: Sequence[str], scores: np.ndarray) -> tuple[Pair, ...]:
    places = list(combinations(range(len(labels)), 2))
    gaps = [
        [0.0 if a == b else float(b - a) for a, b in scores[:, [i, j]].tolist()] for i, j in places
    ]
    p_values = [signed_rank_p(gap) for gap in gaps]
    found = []
    for (i, j), gap, p, p_holm in zip(places, gaps, p_values, holm(p_values), strict=True):
        wins, losses = sum(d > 0 for d in gap), sum(d < 0 for d in gap)
        found.append(Pair(labels[i], labels[j], wins, losses, p, p_holm))
    return tuple(found)


def _incomplete(columns: Sequence[RankedColumn], ranked: Entries) -> list[str]:
    """Cells that lack results, or of which seeds diverged."""
    parts = [
        f"{column.label}: {label} {own[i].count}"
        for i, column in enumerate(columns)
        for label, own in ranked.items()
        if not own[i].summary.complete
    ]
    return [f"incomplete: {_named(parts)}"] if parts else []


def _lack(label: str, own: dict[int, Cell], columns: Sequence[RankedColumn]) -> str:
    there = [i for i in own if _measured(own[i])]
    return f"{label} ({len(there)} of {len(columns)})"


def _too_few(columns: Sequence[RankedColumn], entries: Entries, ranked: list[str]) -> str:
    found = _named([_lack(label, own, columns) for label, own in entries.items()])
    whole = f"only {ranked[0]} has" if ranked else "no loss has"
    return (
        f"nothing to rank: {whole} a result with the same parameters in every one of the "
        f"{_count(len(columns), 'column')}; columns with a result: {found}"
    )


def _named(parts: Sequence[str]) -> str:
    rest = f"; and {len(parts) - MOST_NAMED} more" if len(parts) > MOST_NAMED else ""
    return "; ".join(parts[:MOST_NAMED]) + rest


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _notes(columns: Sequence[RankedColumn], rows: int, changed: Sequence[str]) -> list[str]:
    n, pairs = len(columns), rows * (rows - 1) // 2
    needed = columns_to_decide(rows)
    notes = [
        "Rank of the mean over the seeds in each column, averaged; 1 is best, ties share their "
        "ranks, and a row of which every seed diverged shares the last. No row was chosen by its "
        "results on a test set."
    ]
    if n < needed:
        smallest = min(1.0, 2.0 ** (1 - n) * pairs)
        notes.append(
            f"Nothing can be decided between {'the pair' if pairs == 1 else 'any pair'} of losses "
            f"here: with {_count(n, 'column')} the smallest p of a signed-rank test is "
            f"{2.0 ** (1 - n):.2g}, and corrected for {_count(pairs, 'pair')} {smallest:.2g}. "
            f"{needed} columns would be the fewest."
        )
    notes.append(
        "Pairs: Wilcoxon's signed-rank test over the columns, exact, corrected for all pairs "
        f"(Holm); told apart where p ≤ {ALPHA:g}. Friedman: whether any losses rank apart at all "
        "(Demšar, JMLR 2006)."
    )
    suites = len({column.suite for column in columns})
    if n > suites:
        notes.append(
            f"The {n} columns come from {_count(suites, 'suite')}: columns of one suite share "
            "images or trainings and are not independent, so that their p come out too small. "
            "The size of a gap counts in the signed-rank test, and units differ between metrics."
        )
    if changed:
        notes.append(
            "One row in every column, but its parameters differ between columns, as the suites "
            f"name or chose them: {', '.join(changed)}."
        )
    return notes
