"""Looks at a table whose seeds are added until its comparisons are decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from lossbench.analysis.comparison import Cells
from lossbench.analysis.sequential import LookPlan, SequentialVerdicts, decide, expected_trainings
from lossbench.analysis.statistics import Summary
from lossbench.planning.look_record import LookRecord
from lossbench.planning.looks import Cell, with_cells, with_next_round
from lossbench.planning.plan import Plan

State = Literal["decided", "limit", "unfinished", "open"]
"""`unfinished`: trials of the last round have no result; `open`: another round follows."""


@dataclass(frozen=True)
class TableLooks:
    """State of a table whose seeds are added until its comparisons are decided.

    Attributes:
        plan: Plan of the table, with its record.
        labels: Column -> label of its reference row.
        decided: Verdicts of the metric that decides.
    """

    plan: Plan
    labels: Mapping[str, str]
    decided: SequentialVerdicts

    @property
    def record(self) -> LookRecord:
        assert self.plan.looks is not None
        return self.plan.looks

    @property
    def state(self) -> State:
        if not self.decided.undecided:
            return "decided"
        if self.decided.looks < len(self.record.rounds):
            return "unfinished"
        return "limit" if self.decided.limit_reached else "open"

    @cached_property
    def outcomes(self) -> dict[str, int]:
        """Number of comparisons by outcome."""
        counts: dict[str, int] = {}
        for decision in self.decided.decisions:
            kind = decision.verdict.outcome if decision.look is not None else "undecided"
            counts[kind] = counts.get(kind, 0) + 1
        return counts

    @property
    def comparisons(self) -> int:
        return len(self.decided.decisions)

    @property
    def lost(self) -> tuple[Cell, ...]:
        """Comparisons that are not decided and get no more seeds: too few seeds have a value."""
        going = set(self.decided.undecided)
        return tuple(
            cell
            for decision in self.decided.decisions
            if decision.look is None and (cell := (decision.variant, decision.row)) not in going
        )

    @property
    def seeds(self) -> int:
        """Number of seeds of a cell that is not decided, after the complete rounds."""
        return self.decided.plan.n_at(self.decided.looks - 1) if self.decided.looks else 0

    @property
    def trainings(self) -> int:
        """Number of trainings of all rounds so far."""
        return len(self.plan.trials)

    @property
    def expected_trainings(self) -> int | None:
        """Expected number of trainings in all; None if nothing is known."""
        further = expected_trainings(self.decided)
        if further is None:
            return None
        complete = self.record.rounds[: self.decided.looks]
        known = self.plan.cell_identities.values()
        done = sum(len(each.seeds) * sum(i in each.cells for i in known) for each in complete)
        return max(done + further, self.trainings)

    @property
    def most_trainings(self) -> int:
        """Number of trainings if every cell with a comparison had the largest number of seeds."""
        compared = {decision.variant for decision in self.decided.decisions}
        first = len(self.record.rounds[0].seeds)
        return sum(
            self.record.max_seeds if variant in compared else first
            for variant, _ in self.plan.cell_identities
        )

    @property
    def going(self) -> tuple[Cell, ...]:
        """Cells that get another seed: undecided ones, and the references of their columns."""
        undecided = set(self.decided.undecided)
        columns = {variant for variant, _ in undecided}
        undecided |= {(v, row) for v, row in self.labels.items() if v in columns}
        return tuple(cell for cell in self.plan.cell_identities if cell in undecided)

    def next_record(self) -> LookRecord | None:
        """The record with the trials to run next; None if there are none.

        To be called when all trials of the record have results.
        """
        if self.state == "open":
            return with_next_round(self.plan, self.record, self.going)
        if self.state == "unfinished":  # an earlier version had decided cells that are undecided
            changed = with_cells(self.plan, self.record, self.decided.looks, self.going)
            return None if changed == self.record else changed  # a result lacks the metric
        return None


def at_first_look(cells: Cells, record: LookRecord) -> dict[Cell, Summary]:
    """The cells with the values of the first round."""
    found = {}
    for key, cell in cells.items():
        first = {s: value for s, value in cell.by_seed.items() if s in record.rounds[0].seeds}
        found[key] = replace(cell, values=tuple(first.values()), seeds=tuple(first))
    return found


def look_at(
    plan: Plan,
    cells: Cells,
    labels: Mapping[str, str],
    higher: bool,
    margins: Mapping[str, float],
) -> TableLooks:
    """Replay all looks at a table of the metric that decides.

    Args:
        plan: Plan of the table, with its record.
        cells: All cells, with the values of all seeds so far.
        labels: Column -> label of its reference row.
        higher: Whether higher is better.
        margins: Column -> largest difference that counts as none, which is the same at all looks.
    """
    record = plan.looks
    assert record is not None
    assert plan.suite.reference is not None
    rounds: Sequence[tuple[int, ...]] = [each.seeds for each in record.rounds]
    looks = LookPlan(record.metric, record.max_seeds, tuple(rounds))
    decided = decide(cells, looks, plan.suite.reference, labels, higher, margins)
    return TableLooks(plan, labels, decided)
