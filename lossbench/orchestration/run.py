"""Run a plan: every trial that has no result yet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from lossbench.errors import TrackingError
from lossbench.orchestration.cluster import connect
from lossbench.orchestration.spool import Spool, log_kept
from lossbench.plan import Plan, Trial
from lossbench.tracking.store import Tracker
from lossbench.trial import environment

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        started: How many trials were started.
        failed: Trial name -> message.
        unlogged: Trials whose results wait in the spool because MLflow could not be written.
        interrupted: How many trials Ctrl-C left unfinished.
        undecided: Whether trials failed on which the choice of parameters rests, so that
            nothing was chosen.
        refused: What is wrong with the data, if a trial found that; it ends the run.
    """

    started: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    unlogged: list[str] = field(default_factory=list)
    interrupted: int = 0
    undecided: bool = False
    refused: str = ""


def run_plan(
    plan: Plan,
    tracker: Tracker,
    *,
    data_root: Path,
    work: Path,
    address: str | None,
    console: Console,
) -> Outcome:
    """Run what is missing: first the plan's trials, then with `selection` the chosen ones.

    Args:
        plan: Checked.
        tracker: Open.
        data_root: Where prepared data sets are, the same path on every node.
        work: Folder for everything that is not a result yet.
        address: Of a running Ray cluster; None starts Ray on this machine if it is needed.
        console: For the progress display.

    Raises:
        RequestError: The cluster cannot be used or cannot run these trials.
    """
    outcome = Outcome()
    _log_waiting(plan, tracker, Spool(work, plan.table_identity), console)
    with ExitStack() as stack:
        slot = None
        for stage in (plan.trials, None):
            trials = stage or final_trials(plan, tracker)
            done = tracker.results(trials)
            todo = [trial for trial in trials if trial.identity not in done]
            if not todo:
                continue
            if slot is None:
                slot = stack.enter_context(connect(address, plan.suite.resources))
                tracker.start_suite(plan, environment())
            # imports ray, which `connect` must have prepared, and which takes seconds
            from lossbench.orchestration.jobs import run_trials

            recorder = run_trials(
                todo,
                slot,
                tracker,
                Spool(work, plan.table_identity),
                data_root=data_root,
                work=work,
                console=console,
            )
            outcome.started += len(todo)
            outcome.failed |= {
                t.name: recorder.failed[t.identity] for t in todo if t.identity in recorder.failed
            }
            outcome.unlogged += recorder.unlogged
            outcome.refused = recorder.refused
            outcome.interrupted += len(todo) - len(recorder.finished) - len(recorder.failed)
            if outcome.interrupted or (stage and (outcome.failed or outcome.unlogged)):
                outcome.undecided = plan.suite.selection is not None
                break
        if slot is not None:
            _finish(tracker, _status(outcome), console)
    return outcome


def _log_waiting(plan: Plan, tracker: Tracker, spool: Spool, console: Console) -> None:
    """Log the results that an earlier run could not."""
    waiting = list(spool.waiting())
    if not waiting:
        return
    tracker.start_suite(plan, environment())
    for trial in waiting:
        log_kept(tracker, spool, trial)
    _finish(tracker, "FINISHED", console)
    console.print(f"logged {len(waiting)} results of an earlier run", highlight=False)


def _finish(tracker: Tracker, status: RunStatus, console: Console) -> None:
    try:
        tracker.finish_suite(status)
    except TrackingError as error:  # the results are logged or in the spool already
        console.print(Text(f"MLflow: {error}", "yellow"))


def final_trials(plan: Plan, tracker: Tracker) -> Sequence[Trial]:
    """With `selection`, the trials of the chosen rows, from what is recorded; else none."""
    if plan.suite.selection is None:
        return ()
    metric = plan.suite.selection.metric
    scores = {
        identity: result.metrics[metric]
        for identity, result in tracker.results(plan.trials).items()
        if result.status == "finished"
    }
    return plan.final_trials(plan.choose(scores))


def _status(outcome: Outcome) -> RunStatus:
    if outcome.interrupted:
        return "KILLED"
    return "FAILED" if outcome.failed else "FINISHED"
