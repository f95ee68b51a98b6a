"""Verdicts of a table to which seeds are added until every row is decided.

After each round of seeds there is a look at the table. A comparison that is decided stays decided,
and its row gets no more seeds; the others go on. The levels of the looks
(`lossbench.analysis.error_spending`) keep the error rate of the whole procedure at that of one
look.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate

from lossbench.analysis.comparison import (
    Cells,
    Key,
    RepeatedLooks,
    Verdict,
    Verdicts,
    compare_with_reference,
)
from lossbench.analysis.error_spending import Looks
from lossbench.analysis.power import SeedSpread, seeds_to_decide
from lossbench.analysis.statistics import Summary

_EXPECTED_LOOKS = 50
"""Largest number of further looks that an expected number of trainings accounts for; more looks
would hardly change the last level."""


@dataclass(frozen=True)
class LookPlan:
    """Plan of repeated looks at one table, recorded with it.

    Attributes:
        metric: Name of the metric that decides.
        max_seeds: Number of seeds per row at which no more are added.
        rounds: Seeds added before each look so far; the first are the suite's own.
    """

    metric: str
    max_seeds: int
    rounds: tuple[tuple[int, ...], ...]

    def seeds_at(self, look: int) -> tuple[int, ...]:
        """All seeds up to a look, in the order in which they were added."""
        return tuple(seed for added in self.rounds[: look + 1] for seed in added)

    def n_at(self, look: int) -> int:
        """Number of seeds per undecided row at a look."""
        return len(self.seeds_at(look))

    def looks(self, look: int) -> Looks:
        """All looks up to one."""
        numbers = tuple(accumulate(len(added) for added in self.rounds[: look + 1]))
        # more seeds of the suite than the limit: one look, at the whole level
        return Looks(numbers, max(self.max_seeds, numbers[0]))


@dataclass(frozen=True)
class Decision:
    """Verdict of one comparison, and the look that decided it.

    Attributes:
        variant: Name of the column.
        row: Label of the row.
        verdict: Verdict at the look that decided it, or at the last one.
        look: Index of the look that decided it; None if it is not decided.
    """

    variant: str
    row: str
    verdict: Verdict
    look: int | None


@dataclass(frozen=True)
class SequentialVerdicts:
    """Verdicts after repeated looks.

    Attributes:
        plan: Plan of the looks.
        verdicts: Verdicts of the table, each with the interval and the seeds of the look that
            decided it, or of the last look.
        decisions: The same verdicts with their looks, in the table's order.
        undecided: Comparisons that need another round, (variant, row label). A comparison that
            has no test although two of its seeds have already been lost is not among them.
        looks: Number of looks whose results are complete.
        limit_reached: Whether no more seeds are added.
    """

    plan: LookPlan
    verdicts: Verdicts
    decisions: tuple[Decision, ...]
    undecided: tuple[Key, ...]
    looks: int
    limit_reached: bool


def decide(
    cells: Cells,
    plan: LookPlan,
    reference: str,
    labels: Mapping[str, str],
    higher: bool,
    margins: Mapping[str, float] | None = None,
) -> SequentialVerdicts:
    """Replay all looks at a table.

    At each look only the seeds of its rounds count, and of a decided row only those of the look
    that decided it, so the verdicts depend on the values and the plan alone. A look whose results
    are not complete is not replayed, except the first.

    Args:
        cells: All cells of the table, with all seeds so far.
        plan: Plan of the looks.
        reference, labels, higher, margins: As in `compare_with_reference`.
    """
    replay = _Replay(cells, plan, labels)

    def compare(look: int, *, paired: bool) -> Verdicts:
        seen, repeated = replay.seen_at(look), replay.repeated(look)
        return compare_with_reference(
            seen, reference, labels, higher, margins, repeated, paired=paired
        )

    for look in range(len(plan.rounds)):
        if not replay.undecided or not replay.is_complete(look):
            break
        replay.add(look, compare(look, paired=False))
    return replay.result(compare(max(replay.looks - 1, 0), paired=True))


def compare_other_metric(
    cells: Cells,
    decided: SequentialVerdicts,
    reference: str,
    labels: Mapping[str, str],
    higher: bool,
    margins: Mapping[str, float] | None = None,
) -> Verdicts:
    """Verdicts of a metric that did not decide when to stop.

    Each comparison is tested once, at the level of the look at which its row stopped: the number of
    seeds was chosen by another metric, which may go along with this one.

    Args:
        cells: All cells of the table.
        decided: Verdicts of the metric that decided.
        reference, labels, higher, margins: As in `compare_with_reference`.
    """
    plan, last = decided.plan, max(decided.looks - 1, 0)
    stops = {(d.variant, d.row): last if d.look is None else d.look for d in decided.decisions}
    for variant, row in labels.items():
        stops[variant, row] = max([k for (v, _), k in stops.items() if v == variant], default=last)
    seen = {
        key: _at_seeds(cell, plan.seeds_at(stops.get(key, last))) for key, cell in cells.items()
    }
    looks = {key: plan.looks(stops.get(key, last)) for key in cells}
    return compare_with_reference(seen, reference, labels, higher, margins, RepeatedLooks(looks))


def expected_trainings(found: SequentialVerdicts) -> int | None:
    """Expected number of further trainings, after the complete looks, until the run stops.

    A row is expected to stop at the number of seeds that decides it with 50 % power at the level of
    the last look, if one seed is added at each look, and at most at the limit. The reference row of
    a column gets as many seeds as the last of its rows.

    Returns:
        Number of trainings; None if the spread of no undecided row is known.
    """
    if not found.undecided or found.limit_reached:
        return 0
    plan, undecided = found.plan, set(found.undecided)
    listed = [v for v in found.verdicts.listed if (v.variant, v.row) in undecided]
    if all(verdict.spread is None for verdict in listed):
        return None
    now = plan.n_at(found.looks - 1) if found.looks else 0
    least = now + 1 if found.looks else plan.n_at(0)
    rows, references = 0, dict[str, int]()
    for verdict in listed:
        needed = _seeds_to_decide(verdict, plan, max(found.looks - 1, 0)) or plan.max_seeds
        if verdict.outcome not in ("undecided", "none"):
            needed = least  # of a first round that is not complete
        more = min(max(needed, least), plan.max_seeds) - now
        rows += more
        references[verdict.variant] = max(more, references.get(verdict.variant, 0))
    return rows + sum(references.values())


def _seeds_to_decide(verdict: Verdict, plan: LookPlan, look: int) -> int | None:
    """Seeds that decide a row with 50 % power at the level of the last look."""
    if verdict.spread is None or verdict.difference.mean is None:
        return None
    now = plan.looks(look)
    step = math.ceil((now.max_seeds - now.seeds[-1]) / _EXPECTED_LOOKS) or 1
    more = range(now.max_seeds, now.seeds[-1], -step)
    end = Looks((*now.seeds, *reversed(more)), now.max_seeds)
    level, equivalence_level = (
        end.nominal_level(now.overall_p(level))
        for level in (verdict.level, verdict.equivalence_level)
    )
    spread = SeedSpread(verdict.spread.sd, verdict.spread.df, verdict.difference.n)
    mean, margin = verdict.difference.mean, verdict.margin
    return seeds_to_decide(mean, spread, level, margin, equivalence_level, probability=0.5)


class _Replay:
    """State of a table after the looks so far.

    Attributes:
        undecided: Comparisons that need another round.
        looks: Number of looks so far.
    """

    def __init__(self, cells: Cells, plan: LookPlan, labels: Mapping[str, str]) -> None:
        self._cells = {key: cell for key, cell in cells.items() if key[0] in labels}
        self._plan, self._labels = plan, labels
        self._seen = cache(self._cell_at)
        pairs = [key for key in self._cells if key[1] != labels[key[0]]]
        self._family = frozenset(key for key in pairs if not self._is_lost(key, 0))
        self._settled: dict[Key, Verdict] = {}
        self._stops: dict[Key, int] = {}  # cell -> last look whose seeds it has
        self.undecided = tuple(pairs)
        self.looks = 0

    def is_complete(self, look: int) -> bool:
        """Whether all trials of the cells that have not stopped have a result."""
        n, seen = self._plan.n_at(look), self.seen_at(look)
        going = {key for v, row in self.undecided for key in ((v, row), (v, self._labels[v]))}
        return all(_has_results(seen[key], n) for key in going)

    def seen_at(self, look: int) -> dict[Key, Summary]:
        """Cells with the seeds that count at a look."""
        return {key: self._seen(key, self._last(key, look)) for key in self._cells}

    def repeated(self, look: int) -> RepeatedLooks:
        last = {key: self._last(key, look) for key in self._cells}
        looks = {k: self._plan.looks(k) for k in set(last.values())}
        of_cells = {key: looks[k] for key, k in last.items()}
        return RepeatedLooks(of_cells, self._family, self._settled)

    def add(self, look: int, verdicts: Verdicts) -> None:
        """Stop the rows that this look decides, and the references of columns that are done."""
        self.looks = look + 1
        listed = {(v.variant, v.row): v for v in verdicts.listed}
        for key in self.undecided:
            if listed[key].outcome in ("better", "worse", "equivalent"):
                self._settled[key] = listed[key]
                self._stops[key] = look
            elif listed[key].outcome == "none" and self._is_lost(key, look):
                self._stops[key] = look
        self.undecided = tuple(key for key in self.undecided if key not in self._stops)
        going = {variant for variant, _ in self.undecided}
        for variant, row in self._labels.items():
            if variant not in going:
                self._stops.setdefault((variant, row), look)

    def result(self, verdicts: Verdicts) -> SequentialVerdicts:
        decisions = []
        for verdict in verdicts.listed:
            key = verdict.variant, verdict.row
            look = self._stops[key] if key in self._settled else None
            decisions.append(Decision(*key, verdict, look))
        n = self._plan.n_at(self.looks - 1) if self.looks else 0
        return SequentialVerdicts(
            plan=self._plan,
            verdicts=verdicts,
            decisions=tuple(decisions),
            undecided=self.undecided,
            looks=self.looks,
            limit_reached=n >= self._plan.max_seeds,
        )

    def _cell_at(self, key: Key, look: int) -> Summary:
        return _at_seeds(self._cells[key], frozenset(self._plan.seeds_at(look)))

    def _last(self, key: Key, look: int) -> int:
        """Last look whose seeds a cell has."""
        return min(look, self._stops.get(key, look))

    def _is_lost(self, key: Key, look: int) -> bool:
        """Whether a comparison has no test because two or more seeds have no value."""
        n = self._plan.n_at(look)
        pair = [self._cells[key], self._cells[key[0], self._labels[key[0]]]]
        own, other = (_at_seeds(cell, self._plan.seeds_at(look)) for cell in pair)
        if not all(_has_results(cell, n) for cell in (own, other)):
            return False
        matched = len(set(own.seeds) & set(other.seeds))
        return matched < 2 <= n - matched


def _has_results(cell: Summary, n: int) -> bool:
    return cell.n + cell.diverged + cell.stopped >= n


def _at_seeds(cell: Summary, seeds: Collection[int]) -> Summary:
    """The cell as it was when only these seeds were planned.

    Which of its seeds have no value is not known, only how many: these have no result only if fewer
    of all seeds diverged.
    """
    kept = {seed: value for seed, value in cell.by_seed.items() if seed in seeds}
    without = max(len(seeds) - len(kept), 0)
    diverged = min(cell.diverged, without)
    stopped = min(cell.stopped, without - diverged)
    return replace(
        cell,
        values=tuple(kept.values()),
        seeds=tuple(kept),
        diverged=diverged,
        stopped=stopped,
        missing=without - diverged - stopped,
    )
