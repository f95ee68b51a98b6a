"""Early stopping of held-out trials: successive halving of the rows of a loss.

All trials train up to a rung and pause there. The score of a row is its mean held-out error at that
epoch over all its seeds; like the final choice, pruning is based on all seeds and not on one. The
better half of the rows continues; the others are pruned with all their seeds. The decision depends
only on the recorded epochs, not on the order in which trials ran, or on when they ran: a run that
is resumed after a crash makes the same decisions.

Reference: Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter
    Optimization, AISTATS 2016 (successive halving).
Deviations: The rungs are late. With the usual ones (1/9 and 1/3 of the epochs), a row that learns
    slowly and ends best would be pruned, and ranks before the first drop of the learning rate are
    mostly noise.
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
"""Fractions of the epochs after which rows are compared."""
KEPT = Fraction(1, 2)
"""Fraction of the rows that continues after each rung."""


@dataclass(frozen=True)
class NextTrainings:
    """Trainings and prunings that come next in a selection.

    Attributes:
        until: Epoch up to which a trial is trained next, by the identity of the trial, without
            trials that wait for others.
        pruned: Reason why a trial is pruned, by the identity of the trial.
    """

    until: Mapping[str, int] = field(default_factory=dict)
    pruned: Mapping[str, str] = field(default_factory=dict)


def next_trainings(
    trials: Iterable[Trial], results: Mapping[str, TrialResult], paused: Mapping[str, TrialResult]
) -> NextTrainings:
    """Decide how far each trial without a result is trained next, and which trials are pruned.

    Args:
        trials: All trials of the stage.
        results: Results of the trials that have ended, by identity.
        paused: Partial results of the trials that are paused at a rung, by identity.
    """
    until: dict[str, int] = {}
    pruned: dict[str, str] = {}
    groups: dict[tuple[str, str], dict[str, list[Trial]]] = {}
    for trial in trials:
        if trial.stop_early:
            rows = groups.setdefault((trial.variant, trial.entry), {})
            rows.setdefault(trial.row, []).append(trial)
        elif trial.identity not in results:
            until[trial.identity] = trial.recipe.epochs
    for rows in groups.values():
        upcoming = _Group(rows, results, paused).next_trainings()
        until |= upcoming.until
        pruned |= upcoming.pruned
    return NextTrainings(until, pruned)


def rungs(epochs: int) -> tuple[int, ...]:
    """Epochs after which rows are compared; never the last epoch."""
    found = dict.fromkeys(math.ceil(share * epochs) for share in RUNGS)
    return tuple(epoch for epoch in found if epoch < epochs)


class _Group:
    """Rows of one entry of the suite in one column.

    Losses are not compared with each other: a loss that learns slowly, for instance because its
    margin grows, would be pruned because another one is better at first.
    """

    def __init__(
        self,
        rows: Mapping[str, Sequence[Trial]],
        results: Mapping[str, TrialResult],
        paused: Mapping[str, TrialResult],
    ) -> None:
        self._rows, self._results = rows, results
        self._errors = {
            trial.identity: {
                record.epoch: record.metrics["holdout_error"]
                for record in _history(results.get(trial.identity) or paused.get(trial.identity))
                if "holdout_error" in record.metrics
            }
            for trial in itertools.chain.from_iterable(rows.values())
        }

    def next_trainings(self) -> NextTrainings:
        epochs = next(iter(self._rows.values()))[0].recipe.epochs
        pruned = self._open_trials_of_pruned_rows()
        remaining = list(self._rows)
        for rung in rungs(epochs) if len(self._rows) > 1 else ():
            open_trials = [t for t in self._open(remaining) if t.identity not in pruned]
            if not open_trials:
                return NextTrainings({}, pruned)
            below_rung = [trial for trial in open_trials if not self._reached(trial, rung)]
            if below_rung:
                return NextTrainings({trial.identity: rung for trial in below_rung}, pruned)
            scores = {row: self._score(row, rung) for row in remaining}
            cutoff = sorted(scores.values())[math.ceil(KEPT * len(scores)) - 1]
            kept = [row for row in remaining if scores[row] <= min(cutoff, _MAX_ERROR)]
            for trial in open_trials:
                if trial.row not in kept:
                    pruned[trial.identity] = _reason(rung, epochs, scores[trial.row], cutoff)
            # a row that continued with fewer competitors, in an earlier round of a search, is kept
            remaining = [row for row in remaining if row in kept or self._continued(row, rung)]
        left = [trial for trial in self._open(remaining) if trial.identity not in pruned]
        return NextTrainings({trial.identity: epochs for trial in left}, pruned)

    def _open(self, rows: Iterable[str]) -> list[Trial]:
        return [t for row in rows for t in self._rows[row] if t.identity not in self._results]

    def _open_trials_of_pruned_rows(self) -> dict[str, str]:
        """Open trials of rows with a pruned trial, such as later seeds -> reason to prune them."""
        return {
            trial.identity: "another seed of its row was pruned before"
            for row, trials in self._rows.items()
            if any(self._status(trial) == "stopped" for trial in trials)
            for trial in self._open([row])
        }

    def _reached(self, trial: Trial, rung: int) -> bool:
        return max(self._errors[trial.identity], default=0) >= rung

    def _continued(self, row: str, rung: int) -> bool:
        return all(
            trial.identity in self._results and max(self._errors[trial.identity], default=0) > rung
            for trial in self._rows[row]
        )

    def _score(self, row: str, rung: int) -> float:
        """Mean error over the seeds at the epoch of the rung.

        It is infinite if a seed diverged, because a row with a diverged seed is never chosen, and
        if a seed did not reach the rung, as in a row that was pruned before seeds were added.
        """
        trials = self._rows[row]
        errors = [self._errors[trial.identity].get(rung, math.inf) for trial in trials]
        if any(self._status(trial) == "diverged" for trial in trials):
            return math.inf
        return fmean(errors)

    def _status(self, trial: Trial) -> str:
        result = self._results.get(trial.identity)
        return result.status if result else ""


_MAX_ERROR = 100.0
"""Largest error in percent; the score of a diverged row is larger."""


def _history(result: TrialResult | None) -> Sequence[EpochRecord]:
    return result.history if result else ()


def _reason(rung: int, epochs: int, score: float, cutoff: float) -> str:
    place = f"pruned after epoch {rung} of {epochs}"
    if math.isinf(score):
        return f"{place}: another seed of its row diverged"
    return (
        f"{place}: the mean error of its row was {score:.2f} %, and {cutoff:.2f} % or less in the "
        "better half of the rows of its loss"
    )
