"""Early stopping of held-out trials: successive halving of a loss's rows, each over all its seeds.

All trials train up to a rung and wait there. A row's score is its mean held-out error at that
epoch over its seeds, so that noise between seeds stops a row no more often than it would mislead
the choice in the end; the better half of the rows goes on, and the others are stopped with all
their seeds. The decision depends on the recorded epochs alone, not on the order or the time in
which trials ran: a run that goes on after a crash decides the same.

Reference: Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter
    Optimization, AISTATS 2016 (successive halving).
Deviations: The rungs are late. Under the usual ones (1/9 and 1/3 of the epochs) a row that learns
    slowly and ends best is lost, and before the learning rate first drops ranks are mostly noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from statistics import fmean

from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult

RUNGS = (Fraction(5, 8), Fraction(3, 4))
"""Shares of the epochs after which rows are compared."""
KEPT = Fraction(1, 2)
"""Share of the rows that goes on at each rung."""

History = Sequence[EpochRecord]


@dataclass(frozen=True)
class Step:
    """The next trainings of a selection.

    Attributes:
        until: Epoch up to which a trial is to be trained next, by the trial's identity. Trials that
            have to wait for others are left out.
        stopped: Reason why a trial is stopped, by the trial's identity.
    """

    until: Mapping[str, int] = field(default_factory=dict)
    stopped: Mapping[str, str] = field(default_factory=dict)


def next_step(
    trials: Iterable[Trial], results: Mapping[str, TrialResult], paused: Mapping[str, History]
) -> Step:
    """Decide how far each trial without a result is trained next, and which are stopped.

    Args:
        trials: All trials of the stage.
        results: Results by identity, as far as there are any.
        paused: Epochs of the trials that wait at a rung, by identity.
    """
    until: dict[str, int] = {}
    stopped: dict[str, str] = {}
    groups: dict[tuple[str, str], dict[str, list[Trial]]] = {}
    for trial in trials:
        if trial.stop_early:
            rows = groups.setdefault((trial.variant, trial.loss.name), {})
            rows.setdefault(trial.row, []).append(trial)
        elif trial.identity not in results:
            until[trial.identity] = trial.recipe.epochs
    for rows in groups.values():
        step = _Group(rows, results, paused).next_step()
        until |= step.until
        stopped |= step.stopped
    return Step(until, stopped)


def rungs(epochs: int) -> tuple[int, ...]:
    """Epochs after which rows are compared; none is the last one."""
    found = dict.fromkeys(math.ceil(share * epochs) for share in RUNGS)
    return tuple(epoch for epoch in found if epoch < epochs)


class _Group:
    """The rows of one loss in one column.

    Losses are not compared with one another: one that learns slowly by its nature, with a margin
    that grows for instance, would be stopped because another is ahead of it early.
    """

    def __init__(
        self,
        rows: Mapping[str, Sequence[Trial]],
        results: Mapping[str, TrialResult],
        paused: Mapping[str, History],
    ) -> None:
        self._rows, self._results = rows, results
        self._errors = {
            trial.identity: {
                record.epoch: record.metrics["holdout_error"]
                for record in _history(trial, results, paused)
                if "holdout_error" in record.metrics
            }
            for trial in itertools.chain.from_iterable(rows.values())
        }

    def next_step(self) -> Step:
        some = next(iter(self._rows.values()))[0]
        epochs = some.recipe.epochs
        stopped = self._left_of_stopped_rows()
        in_race = list(self._rows)
        for rung in rungs(epochs) if len(self._rows) > 1 else ():
            open_trials = [t for t in self._open(in_race) if t.identity not in stopped]
            if not open_trials:
                return Step({}, stopped)
            behind = [trial for trial in open_trials if not self._reached(trial, rung)]
            if behind:
                return Step({trial.identity: rung for trial in behind}, stopped)
            scores = {row: self._score(row, rung) for row in in_race}
            cutoff = sorted(scores.values())[math.ceil(KEPT * len(scores)) - 1]
            ahead = [row for row in in_race if scores[row] <= min(cutoff, _LARGEST)]
            for trial in open_trials:
                if trial.row not in ahead:
                    stopped[trial.identity] = _reason(rung, epochs, scores[trial.row], cutoff)
            # a row that went on when it had fewer rivals, in an earlier round of a search, stays
            in_race = [row for row in in_race if row in ahead or self._went_on(row, rung)]
        left = [trial for trial in self._open(in_race) if trial.identity not in stopped]
        return Step({trial.identity: epochs for trial in left}, stopped)

    def _open(self, rows: Iterable[str]) -> list[Trial]:
        return [t for row in rows for t in self._rows[row] if t.identity not in self._results]

    def _left_of_stopped_rows(self) -> dict[str, str]:
        """A stopped row stays stopped, also for seeds that were added later."""
        return {
            trial.identity: "another seed of its row was stopped before"
            for row, trials in self._rows.items()
            if any(self._status(trial) == "stopped" for trial in trials)
            for trial in self._open([row])
        }

    def _reached(self, trial: Trial, rung: int) -> bool:
        return max(self._errors[trial.identity], default=0) >= rung

    def _went_on(self, row: str, rung: int) -> bool:
        return all(
            trial.identity in self._results and max(self._errors[trial.identity], default=0) > rung
            for trial in self._rows[row]
        )

    def _score(self, row: str, rung: int) -> float:
        """Mean error over the seeds.

        It is infinite if a seed diverged, since such a row is never chosen, and if a seed did not
        come here, as in a row that was stopped before seeds were added.
        """
        trials = self._rows[row]
        errors = [self._errors[trial.identity].get(rung, math.inf) for trial in trials]
        if any(self._status(trial) == "diverged" for trial in trials):
            return math.inf
        return fmean(errors)

    def _status(self, trial: Trial) -> str:
        result = self._results.get(trial.identity)
        return result.status if result else ""


_LARGEST = 100.0
"""Of an error in percent: what is above has diverged."""


def _history(
    trial: Trial, results: Mapping[str, TrialResult], paused: Mapping[str, History]
) -> History:
    result = results.get(trial.identity)
    return result.history if result else paused.get(trial.identity, ())


def _reason(rung: int, epochs: int, score: float, cutoff: float) -> str:
    place = f"stopped after epoch {rung} of {epochs}"
    if math.isinf(score):
        return f"{place}: another seed of its row diverged"
    return (
        f"{place}: its row had a mean error of {score:.2f} % there, and the better half of the "
        f"rows of its loss {cutoff:.2f} % or less"
    )
