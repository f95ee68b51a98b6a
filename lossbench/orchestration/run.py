"""Run a plan: every trial that has no result yet."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.text import Text

from lossbench.errors import TrackingError
from lossbench.forecast import Costs
from lossbench.orchestration.claims import Claims
from lossbench.orchestration.cluster import connect
from lossbench.orchestration.spool import Spool, log_kept
from lossbench.orchestration.watch import watched
from lossbench.plan import Plan
from lossbench.tracking.store import Tracker
from lossbench.trial import environment
from lossbench.trial_spec import Trial

if TYPE_CHECKING:
    from lossbench.orchestration.recorder import Recorder

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
        lost: Why Ray cannot go on; that ends it, too, as `interrupted`.
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
        todo: list[Trial] = []
        try:
            for chooses, trials in _stages(plan, tracker):
                tried: set[str] = set()
                told = False
                while todo := _to_do(trials, tracker, tried):
                    if slot is None:  # before anything is written: it may be refused
                        slot = stack.enter_context(connect(address, plan.suite.resources))
                        watch = stack.enter_context(watched(console, stop_code, give_up))
                        tracker.start_suite(plan, environment())
                    wanted = budget.fitting(todo, slot.concurrent) if budget else todo
                    if not wanted:
                        outcome.late = len(todo)
                        break
                    mine = claims.take(wanted)
                    mine = _to_do(mine, tracker, tried)  # others may have ended meanwhile
                    if not mine:
                        if not told:
                            console.print(f"{len(todo)} trials are run by another process; waiting")
                            told = True
                        time.sleep(OTHERS_SEC)
                        continue
                    tried |= {trial.identity for trial in mine}
                    # imports ray, which `connect` must have prepared, and which takes seconds
                    from lossbench.orchestration.jobs import run_trials

                    recorder = run_trials(
                        mine,
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
                    claims.release()
                    late = budget is not None and budget.is_over
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
    while True:
        yield plan.suite.selection is not None, plan.trials
        further = plan.grown(_scores(plan, tracker))
        if further.rows == plan.rows:
            break
        plan = further
    yield False, plan.final_trials(plan.choose(_scores(plan, tracker)))


def _to_do(trials: Sequence[Trial], tracker: Tracker, tried: Set[str]) -> list[Trial]:
    """Those without a result that this run has not tried."""
    left = [trial for trial in trials if trial.identity not in tried]
    done = tracker.results(left) if left else {}
    return [trial for trial in left if trial.identity not in done]


def _add(
    outcome: Outcome, trials: Sequence[Trial], recorder: Recorder, fail_fast: bool, late: bool
) -> None:
    outcome.started += len(trials)
    outcome.failed |= {
        t.name: recorder.failed[t.identity] for t in trials if t.identity in recorder.failed
    }
    outcome.unlogged += [trial.name for trial in recorder.unlogged.values()]
    outcome.refused = recorder.refused
    left = len(trials) - len(recorder.finished) - len(recorder.failed)
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


def lay_out(plan: Plan, tracker: Tracker) -> tuple[Plan, list[Trial]]:
    """The plan with all points to which its searches have come, and all trials of it.

    With `selection` those of the chosen rows are among them, as far as rows are chosen.
    """
    while (further := plan.grown(_scores(plan, tracker))).rows != plan.rows:
        plan = further
    final = plan.final_trials(plan.choose(_scores(plan, tracker)))
    return plan, [*plan.trials, *final]


def _scores(plan: Plan, tracker: Tracker) -> dict[str, float]:
    """What parameters are chosen by: trial identity -> held-out metric, nan where it diverged."""
    if plan.suite.selection is None:
        return {}
    metric = plan.suite.selection.metric
    results = tracker.results(plan.trials)
    return {
        identity: result.metrics[metric] if result.status == "finished" else math.nan
        for identity, result in results.items()
    }


def _status(outcome: Outcome) -> RunStatus:
    if outcome.halted:
        return "KILLED"
    return "FAILED" if outcome.failed else "FINISHED"
