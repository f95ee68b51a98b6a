"""Status of a plan: finished, remaining and expected trials."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lossbench.planning.costs import Costs, Forecast
from lossbench.planning.plan import Plan
from lossbench.planning.selection import final_trials
from lossbench.planning.trial import Trial
from lossbench.records import Results


@dataclass(frozen=True)
class PlanStatus:
    """State of a plan: its trials with a result, those without, and those that will follow.

    Attributes:
        plan: Plan with the points that its searches have proposed so far.
        trials: Trials of the plan that are known so far; final trials are known after the choice.
        results: Results of the trials that were run.
        changed_code: Plugin component, as in `loss my_loss` -> number of stored trials that used
            different code of it.
        weightless: Trials to measure whose weights are not stored, so that they have to be trained
            again.
        further: Trials that seeds added later are expected to need, each represented by a trial of
            its cell.
    """

    plan: Plan
    trials: Sequence[Trial]
    results: Results
    changed_code: Mapping[str, int] = field(default_factory=dict)
    weightless: Sequence[Trial] = ()
    further: Sequence[Trial] = ()

    @property
    def left(self) -> list[Trial]:
        """The known trials without a result, which have to be trained."""
        return [trial for trial in self.trials if trial.identity not in self.results]

    @property
    def to_measure(self) -> list[Trial]:
        """The trained trials with an evaluation that is not measured yet."""
        return [
            trial
            for trial in self.trials
            if trial.identity in self.results and self.results[trial.identity].unmeasured
        ]

    @cached_property
    def expected_trials(self) -> list[Trial]:
        """Trials that depend on results: points of searches, final trials, and added seeds.

        Their parameters are not known yet. Each is represented by a trial of the same loss, column
        and stage, whose cost is similar.
        """
        selection = self.plan.suite.selection
        if selection is None:
            return list(self.further)
        expected = list(self._further_points())
        if any(not trial.holdout for trial in self.trials):
            return expected  # the final trials are known
        rows = {row.entry: row for row in reversed(self.plan.rows)}
        some = {
            (variant, entry): row
            for variant in self.plan.suite.variants
            for entry, row in rows.items()
        }
        return expected + list(final_trials(self.plan, some))

    def epochs_left(self, variant: str) -> int:
        """Number of epochs to train in a column."""
        trials = [*self.left, *self.expected_trials]
        return sum(trial.recipe.epochs for trial in trials if trial.variant == variant)

    def forecast(self, costs: Costs, concurrent: int) -> Forecast | None:
        """Forecast for all remaining and expected trials; None if no cost is known.

        Args:
            costs: Costs of the trials.
            concurrent: Number of trials that run at a time.
        """
        if not costs:
            return None
        return costs.forecast([*self.left, *self.expected_trials], concurrent)

    def _further_points(self) -> Iterable[Trial]:
        plan, selection = self.plan, self.plan.suite.selection
        # if no trial is left, a search has fewer distinct points than it may propose
        if selection is None or not self.left:
            return
        for search, variant in itertools.product(plan.searches, plan.suite.variants):
            points = [
                row for row in plan.rows if row.entry == search.entry and row.applies_to(variant)
            ]
            most = selection.samples or 0
            if search.tuned:  # each loss has as many points, or all combinations
                most = int(min(most, search.combinations))
            missing = most - len(points)
            for seed in plan.suite.seeds if points else ():
                holdout = plan.columns[variant].holdout
                yield from missing * [plan.trial(points[0], variant, seed, holdout)]
