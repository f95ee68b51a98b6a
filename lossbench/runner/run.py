"""Run a plan: every trial that has no result yet."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.text import Text

from lossbench.errors import TrackingError
from lossbench.planning.costs import Costs
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults, with_searched_rows
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.runner.cluster import connect
from lossbench.runner.halving import History, Step, next_step
from lossbench.runner.outbox import Spool, log_kept
from lossbench.runner.ray_watchdog import watched
from lossbench.runner.stopping import Stopping
from lossbench.runner.trial import environment
from lossbench.runner.trial_locks import Claims
from lossbench.tracking.store import Tracker

if TYPE_CHECKING:
    from lossbench.runner.recorder import Recorder

OTHERS_SEC = 2.0
"""How often to look whether another process has finished its trials."""
WORKERS_START_SEC = 10.0
"""What new workers take to import everything, before the first step."""
RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        started: How many trials were started.
        failed: Trial name -> message.
        unlogged: Trials whose results wait in the spool because MLflow could not be written.
        interrupted: How many trials Ctrl-C, or another signal to stop, left unfinished.
        stopped_early: Whether `fail_fast` ended it.
        undecided: Whether trials failed on which the choice of parameters rests, so that
            nothing was chosen.
        refused: What is wrong with the data, if a trial found that; it ends the run.
        late: How many trials the time budget left.
        lost: Why no trial can go on (Ray has died, the disk is full); that ends it, too, as
            `interrupted`.
    """

    started: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    unlogged: list[str] = field(default_factory=list)
    interrupted: int = 0
    stopped_early: bool = False
    undecided: bool = False
    refused: str = ""
    late: int = 0
    lost: str = ""

    @property
    def halted(self) -> bool:
        return bool(self.interrupted or self.refused or self.stopped_early or self.late)


@dataclass
class Budget:
    """Until when a run may go on.

    Attributes:
        deadline: On the monotonic clock.
        costs: Of its trials.
    """

    deadline: float
    costs: Costs

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.deadline

    def fitting(self, left: Sequence[Trial], concurrent: int) -> list[Trial]:
        seconds = self.deadline - time.monotonic() - WORKERS_START_SEC
        return self.costs.fitting(left, concurrent, seconds)


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
) -> Outcome:
    """Run what is missing: first the plan's trials, then with `selection` the chosen ones.

    Args:
        plan: Checked.
        tracker: Open.
        data_root: Where prepared data sets are.
        work: Folder for everything that is not a result yet.
        address: Of a running Ray cluster; None starts Ray on this machine if it is needed.
        console: For the progress display.
        checkpoint_sec: Least time between two checkpoints of a trial.
        fail_fast: Whether the first trial that fails or diverges ends it.
        budget: When it ends, and what trials cost: none is started that would not end in time.
        stop_code: Returns the exit code that a signal to stop asks for; 0 while none has come.

    Raises:
        RequestError: The working folder cannot be written, or the cluster cannot be used or cannot
            run these trials.
    """
    outcome = Outcome()
    spool, claims = Spool(work, plan.table_identity), Claims(work)
    _log_waiting(plan, tracker, spool, claims, console)

    def give_up() -> None:
        _finish(tracker, "KILLED", console)

    with ExitStack() as stack:
        stack.callback(claims.release)
        slot = None
        begun, given_up = set[str](), set[str]()
        todo: list[Trial] = []
        try:
            for chooses, trials in _stages(plan, tracker):
                tried: set[tuple[str, int]] = set()
                results: dict[str, TrialResult] = {}
                paused: dict[str, History] = {}
                told = False
                while True:
                    _look_up(trials, tracker, results)
                    step = next_step(trials, results, paused)
                    todo = _to_do(trials, step, tried)
                    stopped = [t for t in trials if t.identity in step.stopped.keys() - given_up]
                    if not todo and not stopped:
                        break
                    if slot is None:  # before anything is written: it may be refused
                        slot = stack.enter_context(connect(address, plan.suite.resources))
                        watch = stack.enter_context(watched(console, stop_code, give_up))
                        tracker.start_suite(plan, environment())
                    # import ray, which `connect` must have prepared, and which takes seconds
                    from lossbench.runner.checkpoints import drop_checkpoints
                    from lossbench.runner.tune_jobs import run_trials

                    if own := claims.take(stopped):
                        _look_up(own, tracker, results)  # others may have ended them meanwhile
                        own = [trial for trial in own if trial.identity not in results]
                        given_up |= {trial.identity for trial in own}
                        stopping = Stopping(step.stopped, paused, slot.device)
                        _record(own, stopping, tracker, spool, outcome)
                        drop_checkpoints(work, own)
                        if own:
                            console.print(Text(stopping.line(own)))
                        continue
                    wanted = budget.fitting(todo, slot.concurrent) if budget else todo
                    if todo and not wanted:
                        outcome.late = len(todo)
                        break
                    mine = claims.take(wanted)
                    _look_up(mine, tracker, results)  # others may have ended meanwhile
                    step = next_step(trials, results, paused)
                    mine = _to_do(mine, step, tried)
                    if not mine:
                        if not told:
                            count = len(todo) + len(stopped)
                            console.print(f"{count} trials are run by another process; waiting")
                            told = True
                        time.sleep(OTHERS_SEC)
                        continue
                    tried |= {(trial.identity, step.until[trial.identity]) for trial in mine}
                    recorder = run_trials(
                        mine,
                        step.until,
                        slot,
                        tracker,
                        spool,
                        data_root=data_root,
                        work=work,
                        console=console,
                        checkpoint_sec=checkpoint_sec,
                        fail_fast=fail_fast,
                        plugins=plan.plugins,
                        deadline=budget.deadline if budget else math.inf,
                    )
                    paused |= recorder.paused
                    if not paused:
                        claims.release()
                    late = budget is not None and budget.is_over
                    begun |= {trial.identity for trial in mine}
                    outcome.started = len(begun)
                    _add(outcome, mine, recorder, fail_fast, late)
                    outcome.lost = recorder.stuck or (watch.message if watch.lost else "")
                    if budget:
                        budget.costs.learn(mine, tracker.results(mine))
                    if outcome.halted:
                        break
                if outcome.halted or (chooses and (outcome.failed or outcome.unlogged)):
                    outcome.undecided = plan.suite.selection is not None
                    break
        except KeyboardInterrupt:  # not while trials run: Ctrl-C ends those in order
            outcome.interrupted = len(todo)
            if not todo:
                if slot is not None:
                    _finish(tracker, "KILLED", console)
                raise
        if slot is not None:
            _finish(tracker, _status(outcome), console)
    return outcome


def _stages(plan: Plan, tracker: Tracker) -> Iterator[tuple[bool, Sequence[Trial]]]:
    """What to run, one after the other, since each depends on the results of those before.

    Yields:
        Whether parameters are chosen by these trials' results, and the trials.
    """
    if plan.suite.selection is None:
        yield False, plan.trials
        return
    while True:
        yield True, plan.trials
        found = PlanWithResults(plan, tracker.results(plan.trials))
        further = with_searched_rows(plan, found.scores)
        if further.rows == plan.rows:
            break
        plan = further
    yield False, found.test_stage.trials


def _to_do(trials: Iterable[Trial], step: Step, tried: Set[tuple[str, int]]) -> list[Trial]:
    """Trials to train next, without those that this run has tried to bring that far."""
    return [
        trial
        for trial in trials
        if trial.identity in step.until
        and (trial.identity, step.until[trial.identity]) not in tried
    ]


def _look_up(trials: Iterable[Trial], tracker: Tracker, results: dict[str, TrialResult]) -> None:
    """Add the results that are recorded by now."""
    if missing := [trial for trial in trials if trial.identity not in results]:
        results |= tracker.results(missing)


def _record(
    trials: Iterable[Trial], stopping: Stopping, tracker: Tracker, spool: Spool, outcome: Outcome
) -> None:
    """Record stopped trials, each as far as it can be."""
    for trial in trials:
        try:
            stopping.keep(trial, spool)
            log_kept(tracker, spool, trial)
        except OSError as error:  # a full disk
            outcome.failed[trial.name] = f"its result could not be kept: {error}"
        except TrackingError:
            outcome.unlogged.append(trial.name)


def _add(
    outcome: Outcome, trials: Sequence[Trial], recorder: Recorder, fail_fast: bool, late: bool
) -> None:
    outcome.failed |= {
        t.name: recorder.failed[t.identity] for t in trials if t.identity in recorder.failed
    }
    outcome.unlogged += [trial.name for trial in recorder.unlogged.values()]
    outcome.refused = recorder.refused
    left = len(trials) - len(recorder.finished) - len(recorder.failed) - len(recorder.paused)
    outcome.stopped_early = bool(fail_fast and left and (recorder.failed or recorder.diverged))
    if late:
        outcome.late = left
    elif not outcome.stopped_early:
        outcome.interrupted += left


def _log_waiting(
    plan: Plan, tracker: Tracker, spool: Spool, claims: Claims, console: Console
) -> None:
    """Log the results that an earlier run could not."""
    waiting = claims.take(spool.waiting())
    logged = tracker.results(waiting) if waiting else {}
    for trial in waiting:  # a crash came between the two
        if trial.identity in logged:
            spool.drop(trial)
    waiting = [trial for trial in waiting if trial.identity not in logged]
    if waiting:
        tracker.start_suite(plan, environment())
        for trial in waiting:
            log_kept(tracker, spool, trial)
        _finish(tracker, "FINISHED", console)
        console.print(f"logged {len(waiting)} results of an earlier run", highlight=False)
    claims.release()


def _finish(tracker: Tracker, status: RunStatus, console: Console) -> None:
    try:
        tracker.finish_suite(status)
    except TrackingError as error:  # the results are logged or in the spool already
        console.print(Text(f"MLflow: {error}", "yellow"))


def _status(outcome: Outcome) -> RunStatus:
    if outcome.halted:
        return "KILLED"
    return "FAILED" if outcome.failed else "FINISHED"
