"""Execution of trials: each once, even if other processes run the same suite."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from lossbench.errors import TrackingError
from lossbench.planning.plan import Plan
from lossbench.planning.selection import is_complete
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.runner.budget import PROBE_SEC, Budget
from lossbench.runner.cluster import TrialResources, ray_cluster
from lossbench.runner.halving import NextTrainings, next_trainings
from lossbench.runner.outbox import Outbox, log_from_outbox
from lossbench.runner.outcome import RunOutcome, RunStatus
from lossbench.runner.ray_watchdog import Watchdog, ray_watchdog
from lossbench.runner.trial_locks import TrialLocks
from lossbench.tracking.store import Tracker

if TYPE_CHECKING:
    from lossbench.runner.recorder import Recorder

POLL_SEC = 2.0
"""Time between two checks whether another process has finished its trials."""


class Execution:
    """Execution of the trials of a plan; a context manager, which shuts Ray down.

    Ray starts when the first trial is to be trained or pruned.

    Args:
        plan: Checked plan.
        tracker: Open tracker.
        data_root: Folder of the prepared data sets.
        work: Working folder.
        address: Address of a running Ray cluster; None starts Ray on this machine.
        console: Console for the progress display.
        checkpoint_sec: Minimum time between two checkpoints of a trial.
        fail_fast: Whether the first trial that fails or diverges ends the run.
        budget: Time budget; None: unlimited.
        stop_code: Returns the exit code that a signal to stop asks for; 0 without a signal.
        confirm_retraining: Called with trials that have to be trained again, because evaluations
            are missing and their weights are not stored; raises RequestError to refuse.

    Attributes:
        outcome: Outcome of the run so far.
    """

    def __init__(
        self,
        plan: Plan,
        tracker: Tracker,
        *,
        data_root: Path,
        work: Path,
        address: str | None,
        console: Console,
        checkpoint_sec: float,
        fail_fast: bool,
        budget: Budget | None,
        stop_code: Callable[[], int],
        confirm_retraining: Callable[[Sequence[Trial]], None],
    ) -> None:
        self._plan, self._tracker = plan, tracker
        self._data_root, self._work, self._address = data_root, work, address
        self._console, self._checkpoint_sec, self._fail_fast = console, checkpoint_sec, fail_fast
        self._budget, self._stop_code = budget, stop_code
        self._confirm_retraining = confirm_retraining
        self._outbox, self._locks = Outbox(work, plan.table_identity), TrialLocks(work)
        self._stack = ExitStack()
        self._resources: TrialResources | None = None
        self._watchdog: Watchdog | None = None
        self._left: list[Trial] = []
        self._started: set[str] = set()
        self._pruned: set[str] = set()
        self._retrained: set[str] = set()
        self._table_is_open = False
        self.outcome = RunOutcome()

    def __enter__(self) -> Execution:
        self._stack.callback(self._locks.release)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Close the table's run and shut Ray down; Ctrl-C with trials left does not raise."""
        with self._stack:
            interrupted = isinstance(error, KeyboardInterrupt)  # while no trial was running
            if interrupted:
                self.outcome.interrupted = len(self._left)
            is_outcome = interrupted and bool(self._left)
            if self._table_is_open and (error is None or interrupted):
                self._finish(self.outcome.status if error is None or is_outcome else "KILLED")
        return is_outcome

    def log_outbox(self) -> None:
        """Log the results that an earlier run could not log."""
        waiting = self._locks.acquire(self._outbox.waiting())
        results = self._tracker.results(waiting) if waiting else {}
        logged = [trial for trial in waiting if is_complete(trial, results)]
        for trial in logged:  # before a crash, but not removed
            self._outbox.remove(trial)
        waiting = [trial for trial in waiting if trial not in logged]
        if waiting:
            self._start_suite()
            for trial in waiting:
                log_from_outbox(self._tracker, self._outbox, trial)
            self._finish("FINISHED")
            self._console.print(
                f"results of an earlier run, now logged: {len(waiting)}", highlight=False
            )
        self._locks.release()

    def run(self, trials: Sequence[Trial]) -> None:
        """Measure what is missing of the trained trials of a stage, then train the others."""
        tried: set[tuple[str, int]] = set()
        results: dict[str, TrialResult] = {}
        paused: dict[str, TrialResult] = {}
        waits = False
        if self._budget and self._budget.costs:
            self._budget.costs.add_results(trials, self._tracker.results(trials))
        self._measure(trials, results)
        while not self.outcome.halted:
            self._look_up(trials, results)
            upcoming = next_trainings(trials, results, paused)
            self._left = _to_train(trials, upcoming, tried)
            to_prune = [t for t in trials if t.identity in upcoming.pruned.keys() - self._pruned]
            if not self._left and not to_prune:
                break
            resources = self._connect(trials, results)
            if self._prune(to_prune, upcoming, results, paused):
                continue
            chosen = self._left
            if self._budget:
                chosen = self._budget.fitting(self._left, resources.concurrent)
                if self._left and not chosen:
                    self.outcome.over_budget = len(self._left)
                    break
            own = self._locks.acquire(chosen)
            self._look_up(own, results)  # another process may have finished them meanwhile
            upcoming = next_trainings(trials, results, paused)
            own = _to_train(own, upcoming, tried)
            if own:
                tried |= {(trial.identity, upcoming.until[trial.identity]) for trial in own}
                paused |= self._run_jobs(own, upcoming.until, resources).paused
                if not paused:
                    self._locks.release()
                continue
            if not waits:
                count = len(self._left) + len(to_prune)
                self._console.print(f"waiting for trials that another process runs: {count}")
                waits = True
            time.sleep(POLL_SEC)

    def _measure(self, trials: Sequence[Trial], results: dict[str, TrialResult]) -> None:
        """Measure the missing evaluations of trained trials, on their stored weights.

        A trial whose weights are not stored has no result afterwards, so that it is trained again.
        """
        self._look_up(trials, results)
        tried: set[str] = set()
        waits = False
        while not self.outcome.halted:
            incomplete = [
                trial
                for trial in trials
                if trial.identity in results
                and results[trial.identity].unmeasured
                and trial.identity not in tried
            ]
            weightless = [trial for trial in incomplete if not self._tracker.has_weights(trial)]
            if weightless:
                self._confirm_retraining(weightless)
                self._retrained |= {trial.identity for trial in weightless}
                for trial in weightless:
                    del results[trial.identity]
                continue
            if not incomplete:
                return
            own = self._locks.acquire(incomplete)
            if own:
                tried |= {trial.identity for trial in own}
                self._measure_stored(own, results, trials)
                self._locks.release()
            else:
                if not waits:
                    self._console.print(
                        f"waiting for trials that another process measures: {len(incomplete)}"
                    )
                waits = True
                time.sleep(POLL_SEC)
            results |= self._tracker.results(incomplete)

    def _measure_stored(
        self, own: Sequence[Trial], results: dict[str, TrialResult], stage: Sequence[Trial]
    ) -> None:
        """Measure locked trials; their results and weights go to their checkpoint folders."""
        results |= self._tracker.results(own)  # another process may have measured them meanwhile
        left = [trial for trial in own if results[trial.identity].unmeasured]
        if not left:
            return
        resources = self._connect(stage, results)
        self._adopt(left)
        for trial in left:
            self._tracker.copy_training(trial, self._work / "checkpoints" / trial.identity)
        self._run_jobs(left, {}, resources, measure_only=True)

    def adopt(self, trials: Sequence[Trial]) -> None:
        """Copy results from other suites of the store, so that this suite's table is complete."""
        suite, left = self._plan.suite.suite, list(trials)
        self._tracker.results(left)
        while self._tracker.is_elsewhere(suite, left):
            own = self._locks.acquire(left)
            self._tracker.results(own)  # another process may have copied them meanwhile
            if self._tracker.is_elsewhere(suite, own):
                self.open_table()
                self._adopt(own)
            self._locks.release()
            done = {trial.identity for trial in own}
            left = [trial for trial in left if trial.identity not in done]
            if not left or self.outcome.halted:
                return
            time.sleep(POLL_SEC)
            self._tracker.results(left)

    def _adopt(self, trials: Sequence[Trial]) -> None:
        """Copy results from other suites, and print how many."""
        for origin, count in self._tracker.adopt(trials).items():
            noun = "trial" if count == 1 else "trials"
            self._console.print(f"{count} {noun} taken from suite {origin}", highlight=False)

    def open_table(self) -> None:
        """Open the table's run in MLflow, if this execution has not opened it yet."""
        if not self._table_is_open:
            self._start_suite()
            self._table_is_open = True

    def _start_suite(self) -> None:
        from lossbench.runner.environment import environment  # imports torch

        self._tracker.start_suite(self._plan, environment())

    def _connect(self, trials: Sequence[Trial], results: dict[str, TrialResult]) -> TrialResources:
        """Start Ray, measure costs if there is a budget, then open the table's run in MLflow.

        In this order, nothing is written if the cluster has too few resources.
        """
        if self._resources is None:
            resources = self._stack.enter_context(
                ray_cluster(self._address, self._plan.suite.resources)
            )
            self._watchdog = self._stack.enter_context(
                ray_watchdog(self._console, self._stop_code, lambda: self._finish("KILLED"))
            )
            self._measure_costs(trials, results, resources)
            self._resources = resources
            self.open_table()
        return self._resources

    def _measure_costs(
        self, trials: Sequence[Trial], results: dict[str, TrialResult], resources: TrialResources
    ) -> None:
        if self._budget is None or self._budget.costs is not None:
            return
        # these import ray, which `ray_cluster` must have prepared, and which takes seconds
        from lossbench.runner.cluster_probe import cluster_prober
        from lossbench.runner.prober import measured_costs

        with cluster_prober(resources, self._data_root, self._work, self._plan.plugins) as prober:
            self._budget.costs = measured_costs(trials, results, prober, PROBE_SEC)

    def _run_jobs(
        self,
        trials: Sequence[Trial],
        until: Mapping[str, int],
        resources: TrialResources,
        *,
        measure_only: bool = False,
    ) -> Recorder:
        from lossbench.runner.tune_jobs import run_trials

        budget = self._budget
        recorder = run_trials(
            trials,
            until,
            resources,
            self._tracker,
            self._outbox,
            data_root=self._data_root,
            work=self._work,
            console=self._console,
            checkpoint_sec=self._checkpoint_sec,
            fail_fast=self._fail_fast,
            plugins=self._plan.plugins,
            deadline=budget.deadline if budget else math.inf,
            measure_only=measure_only,
        )
        over_budget = budget is not None and budget.is_over
        self._started |= {trial.identity for trial in trials}
        self._add(trials, recorder, over_budget)
        if budget and budget.costs:
            budget.costs.add_results(trials, self._tracker.results(trials))
        return recorder

    def _add(self, trials: Sequence[Trial], recorder: Recorder, over_budget: bool) -> None:
        """Add the results and failures of a recorder to the outcome."""
        outcome, failed = self.outcome, recorder.failed
        outcome.started = len(self._started)
        outcome.failed |= {t.name: failed[t.identity] for t in trials if t.identity in failed}
        outcome.unlogged += [trial.name for trial in recorder.unlogged.values()]
        outcome.data_problem = recorder.data_problem
        left = len(trials) - len(recorder.finished) - len(failed) - len(recorder.paused)
        outcome.ended_by_fail_fast = bool(
            self._fail_fast and left and (failed or recorder.diverged)
        )
        if over_budget:
            outcome.over_budget = left
        elif not outcome.ended_by_fail_fast:
            outcome.interrupted += left
        died = self._watchdog.message if self._watchdog and self._watchdog.dead_process else ""
        outcome.abort_reason = recorder.abort_reason or died

    def _prune(
        self,
        trials: Sequence[Trial],
        upcoming: NextTrainings,
        results: dict[str, TrialResult],
        paused: dict[str, TrialResult],
    ) -> bool:
        """Record pruned trials; return whether this process has locked any of them."""
        # these import torch, which a run that trains nothing does not need
        from lossbench.runner.checkpoint_folders import drop_checkpoints
        from lossbench.runner.pruning import pruned_line, pruned_result

        locked = self._locks.acquire(trials)
        if not locked:
            return False
        self._look_up(locked, results)  # another process may have recorded them meanwhile
        own = [trial for trial in locked if trial.identity not in results]
        self._pruned |= {trial.identity for trial in own}
        assert self._resources is not None
        for trial in own:
            reason = upcoming.pruned[trial.identity]
            result = pruned_result(trial, reason, paused, results, self._resources.device)
            try:
                self._outbox.save_result(trial, result)
                log_from_outbox(self._tracker, self._outbox, trial)
            except OSError as error:  # a full disk, for instance
                self.outcome.failed[trial.name] = f"its result could not be saved: {error}"
            except TrackingError:
                self.outcome.unlogged.append(trial.name)
        drop_checkpoints(self._work, own)
        if own:
            self._console.print(Text(pruned_line(own)))
        return True

    def _look_up(self, trials: Iterable[Trial], results: dict[str, TrialResult]) -> None:
        """Add the results that have been recorded meanwhile."""
        if missing := [trial for trial in trials if trial.identity not in results]:
            found = self._tracker.results(missing)
            replaced = {i for i in found.keys() & self._retrained if found[i].unmeasured}
            results |= {i: result for i, result in found.items() if i not in replaced}

    def _finish(self, status: RunStatus) -> None:
        try:
            self._tracker.finish_suite(status)
        except TrackingError as error:  # the results are logged, or in the outbox
            self._console.print(Text(f"MLflow: {error}", "yellow"))


def _to_train(
    trials: Iterable[Trial], upcoming: NextTrainings, tried: set[tuple[str, int]]
) -> list[Trial]:
    """Trials to train next, without those that this run already tried to train to that epoch."""
    return [
        trial
        for trial in trials
        if trial.identity in upcoming.until
        and (trial.identity, upcoming.until[trial.identity]) not in tried
    ]
