"""`--until-decided`: rounds of seeds, until every comparison with the reference row is decided."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from lossbench.cli.local_status import LocalPlanStatus
from lossbench.errors import NothingRecordedError, RequestError
from lossbench.planning.looks import (
    deciding_metric,
    require_same_looks,
    start_looks,
    with_stored_looks,
)
from lossbench.planning.plan import Plan
from lossbench.planning.rows import find_reference_rows
from lossbench.planning.selection import PlanWithResults

if TYPE_CHECKING:
    from lossbench.analysis.table_looks import TableLooks
    from lossbench.planning.look_record import LookRecord

DEFAULT_MAX_SEEDS = 20
"""Largest number of seeds per cell without `--max-seeds`."""


class Rounds:
    """Looks at a table after each round, with one line of output.

    Args:
        console: Console for the lines.

    Attributes:
        last: The last look; None before the first one.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self.last: TableLooks | None = None

    def next_record(self, found: PlanWithResults) -> LookRecord | None:
        """Look at the results of all rounds; the record with the next round, or None to end."""
        from lossbench.analysis.tables import table_looks
        from lossbench.report.look_text import describe_round

        self.last = table_looks(found)
        assert self.last is not None
        following = self.last.next_record()
        line = describe_round(self.last, following)
        self._console.print(line, highlight=False, soft_wrap=True)
        return following


def plan_with_looks(plan: Plan, tracking_uri: str | None, max_seeds: int | None) -> Plan:
    """The plan with its stored record, or with a new one of its own seeds.

    Args:
        plan: Checked plan.
        tracking_uri: MLflow's database or server; None for the default.
        max_seeds: Largest number of seeds per cell; None for the record's, else the default.

    Raises:
        RequestError: The table cannot be decided, or it was looked at with another limit.
    """
    from lossbench.tracking.store import Tracker

    _require_comparisons(plan)
    if not plan.missing:
        with contextlib.suppress(NothingRecordedError):
            plan = with_stored_looks(plan, Tracker.open(tracking_uri, create=False))
    if plan.looks is None:
        return replace(plan, looks=start_looks(plan, max_seeds or DEFAULT_MAX_SEEDS))
    require_same_looks(plan, max_seeds)
    return plan


def _require_comparisons(plan: Plan) -> None:
    suite = plan.suite
    if suite.selection is not None:
        raise RequestError(
            "--until-decided: not together with 'selection', which chooses rows by the suite's own "
            "seeds; write the chosen losses into a suite without 'selection'"
        )
    if suite.reference is None:
        raise RequestError("--until-decided: the suite names no 'reference' row to compare with")
    if deciding_metric(plan) is None:
        if optimistic := next((m.name for m in plan.metrics if m.optimistic), ""):
            raise RequestError(
                f"--until-decided: {optimistic} is chosen on the test set and decides nothing; add "
                "another metric to 'evaluate', for example error"
            )
        raise RequestError("--until-decided: none of the suite's metrics is better or worse")
    rows = find_reference_rows(suite.reference, {row.label: row.entry for row in plan.rows})
    if len(rows) != 1 or len(plan.rows) < 2:
        raise RequestError(
            f"--until-decided: needs the reference row {suite.reference} and a row to compare with "
            f"it; there are {', '.join(row.label for row in plan.rows)}"
        )


@dataclass(frozen=True)
class ExpectedRounds:
    """Expected rounds of a table.

    Attributes:
        status: Status with the trials that are expected to follow; the largest possible number if
            nothing is known.
        trainings: Expected number of trainings in all; None if nothing is known.
        most: Largest possible number of trainings in all.
        max_seeds: Largest number of seeds per cell.
    """

    status: LocalPlanStatus
    trainings: int | None
    most: int
    max_seeds: int

    @property
    def text(self) -> str:
        """`about 25 more follow (73 in all), at most 320 in all`."""
        if self.trainings is None:
            return f"how many follow depends on their results: at most {self.most} in all"
        more = len(self.status.further)
        if not more:
            return "none is expected to follow"
        return f"about {more} more follow ({self.trainings} in all), at most {self.most} in all"

    @property
    def content(self) -> dict[str, Any]:
        """Content of the JSON of `plan`."""
        return {
            "max_seeds": self.max_seeds,
            "expected_trainings": self.trainings,
            "most_trainings": self.most,
        }


def expect_rounds(status: LocalPlanStatus) -> ExpectedRounds:
    """Expected rounds, from the results so far.

    Args:
        status: Status of a plan with a record.
    """
    from lossbench.analysis.tables import table_looks

    plan = status.plan
    looks = table_looks(PlanWithResults(plan, status.results))
    assert looks is not None
    total = looks.expected_trainings
    number = (looks.most_trainings if total is None else total) - looks.trainings
    rows = {row.label: row for row in plan.rows}
    going = looks.going or tuple(plan.cell_identities)
    cells = itertools.islice(itertools.cycle(going), number)
    further = [plan.trial(rows[label], variant, 0) for variant, label in cells]
    status = replace(status, further=further)
    return ExpectedRounds(status, total, looks.most_trainings, looks.record.max_seeds)
