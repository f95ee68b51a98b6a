"""Outcome of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass
class Outcome:
    """Outcome of a run.

    Attributes:
        started: Number of trials that were started.
        failed: Error messages of the trials that failed, by the name of the trial.
        unlogged: Names of the trials whose results are in the outbox, since MLflow could not be
            written.
        interrupted: Number of trials that Ctrl-C or another signal to stop left unfinished.
        ended_by_fail_fast: Whether `fail_fast` ended the run.
        undecided: Whether no parameters were chosen, since trials failed on which the choice
            depends.
        refused: Problem of the data that a trial found, which ended the run; else empty.
        late: Number of trials that did not fit into the time budget.
        lost: Reason why no trial can continue (Ray has died, the disk is full), which ended the
            run; else empty. The unfinished trials are counted in `interrupted`.
    """

    started: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    unlogged: list[str] = field(default_factory=list)
    interrupted: int = 0
    ended_by_fail_fast: bool = False
    undecided: bool = False
    refused: str = ""
    late: int = 0
    lost: str = ""

    @property
    def halted(self) -> bool:
        """Whether the run ended before all its trials."""
        return bool(self.interrupted or self.refused or self.ended_by_fail_fast or self.late)

    @property
    def status(self) -> RunStatus:
        """Status of the table's run in MLflow."""
        if self.halted:
            return "KILLED"
        return "FAILED" if self.failed else "FINISHED"
