"""Run a plan: every trial that has no result yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from lossbench.planning.look_record import LookRecord
from lossbench.planning.plan import Plan
from lossbench.planning.searched_rows import with_searched_rows
from lossbench.planning.selection import (
    PlanWithResults,
    distinct_trials,
    with_stored_points,
)
from lossbench.planning.trial import Trial
from lossbench.runner.budget import Budget
from lossbench.runner.execution import Execution
from lossbench.runner.outcome import RunOutcome
from lossbench.tracking.store import Tracker

NextLooks = Callable[[PlanWithResults], LookRecord | None]


def run_plan(
    plan: Plan,
    tracker: Tracker,
    *,
    data_root: Path,
    work: Path,
    address: str | None,
    console: Console,
    checkpoint_sec: float = 10.0,
    fail_fast: bool = False,
    budget: Budget | None = None,
    stop_code: Callable[[], int] = lambda: 0,
    confirm_retraining: Callable[[Sequence[Trial]], None] = lambda trials: None,
    next_looks: NextLooks | None = None,
) -> RunOutcome:
    """Run what is missing: first the trials of the plan, then with `selection` the chosen rows.

    A trained trial is only measured, and one that another suite has trained is copied.

    Args:
        plan: Checked plan.
        tracker: Open tracker.
        data_root: Folder of the prepared data sets.
        work: Working folder, for checkpoints, locks and results that are not logged yet.
        address: Address of a running Ray cluster; None starts Ray on this machine if it is needed.
        console: Console for the progress display.
        checkpoint_sec: Minimum time between two checkpoints of a trial.
        fail_fast: Whether the first trial that fails or diverges ends the run.
        budget: Time budget; only trials that are expected to finish in time are started.
        stop_code: Returns the exit code that a signal to stop asks for; 0 without a signal.
        confirm_retraining: Called with trials that have to be trained again; see `Execution`.
        next_looks: Looks at a plan with its results after each round of `plan.looks`, and returns
            the record with the next round, or None to end; None: no rounds are added.

    Raises:
        RequestError: The working folder cannot be written, or the cluster cannot be used or cannot
            run these trials.
    """
    execution = Execution(
        plan,
        tracker,
        data_root=data_root,
        work=work,
        address=address,
        console=console,
        checkpoint_sec=checkpoint_sec,
        fail_fast=fail_fast,
        budget=budget,
        stop_code=stop_code,
        confirm_retraining=confirm_retraining,
    )
    execution.log_outbox()
    outcome = execution.outcome
    with execution:
        stages = _rounds(plan, tracker, next_looks) if next_looks else _stages(plan, tracker)
        for chooses, trials in stages:
            execution.run(trials)
            execution.adopt(trials)
            if outcome.halted or (chooses and (outcome.failed or outcome.unlogged)):
                outcome.undecided = plan.suite.selection is not None
                break
            if next_looks:
                execution.open_table()  # it has the record, also if nothing was to be trained
    return outcome


def _rounds(
    plan: Plan, tracker: Tracker, next_looks: NextLooks
) -> Iterator[tuple[bool, Sequence[Trial]]]:
    """Trials to run, round by round; each round is recorded before its trials start.

    Yields:
        True, because the next round depends on these trials, and the trials of all rounds so far.
    """
    record = plan.looks
    while record is not None:
        tracker.kept.keep_look_records({record.identity: record})
        plan = replace(plan, looks=record)
        yield True, plan.trials
        record = next_looks(PlanWithResults(plan, tracker.results(plan.trials)))


def _stages(plan: Plan, tracker: Tracker) -> Iterator[tuple[bool, Sequence[Trial]]]:
    """Trials to run, stage by stage, since each stage depends on the results of those before.

    Yields:
        Whether parameters are chosen by the results of these trials, and the trials.
    """
    if plan.suite.selection is None:
        yield False, plan.trials
        return
    plan = with_stored_points(plan, tracker)
    while True:
        tracker.kept.keep_search_points(plan.search_points)
        yield True, plan.trials
        found = PlanWithResults(plan, tracker.results(plan.trials))
        further = with_searched_rows(plan, found.scores)
        if further.rows == plan.rows:
            break
        plan = further
    yield False, distinct_trials(found.test_stage.trials)
