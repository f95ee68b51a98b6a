"""Outcome of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass
class RunOutcome:
    """Outcome of a run.

    Attributes:
        started: Number of trials that were started.
        failed: Error messages of the trials that failed, by the name of the trial.
        unlogged: Names of the trials whose results are in the outbox, since MLflow could not be
            written.
        interrupted: Number of trials that are unfinished because of Ctrl-C, another signal to stop,
            or `abort_reason`.
        ended_by_fail_fast: Whether `fail_fast` ended the run.
        undecided: Whether no parameters were chosen, because trials that the choice needs failed
            or were not run.
        data_problem: Problem of the data that a trial found, which ended the run; else empty.
        over_budget: Number of trials that did not fit into the time budget.
        abort_reason: Reason why no trial can continue and the run ended: a process of Ray has died,
            or the disk is full; else empty. The unfinished trials are counted in `interrupted`.
    """

    started: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    unlogged: list[str] = field(default_factory=list)
    interrupted: int = 0
    ended_by_fail_fast: bool = False
    undecided: bool = False
    data_problem: str = ""
    over_budget: int = 0
    abort_reason: str = ""

    @property
    def halted(self) -> bool:
        """Whether the run ended before all its trials were run."""
        return bool(
            self.interrupted or self.data_problem or self.ended_by_fail_fast or self.over_budget
        )

    @property
    def status(self) -> RunStatus:
        """Status of the table's run in MLflow."""
        if self.halted:
            return "KILLED"
        return "FAILED" if self.failed else "FINISHED"
