"""Choice of parameters: scores on the held-out part, chosen rows, and the trials that follow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal

from lossbench.planning.plan import Plan
from lossbench.planning.rows import Row, find_reference_rows, make_rows
from lossbench.planning.trial import Trial
from lossbench.records import Results, TrialResult
from lossbench.suite.schema import Component

Scores = Mapping[str, float]
"""Trial identity -> metric on the held-out part; nan for trials that give none for good."""
Chosen = Mapping[tuple[str, str], Row]
"""(variant, loss name) -> row."""
ReadResults = Callable[[Iterable[Trial]], Results]
"""Looks up the results of trials."""


@dataclass(frozen=True)
class Stage:
    """Trials that are measured on the same images.

    Attributes:
        measured: `test`, or `holdout` for the stage in which `selection` chooses: on a held-out
            part of the training set, or on the validation set.
        trials: Trials in the suite's order.
        results: Results of the trials that were run.
    """

    measured: Literal["test", "holdout"]
    trials: tuple[Trial, ...]
    results: Results

    @cached_property
    def cells(self) -> dict[tuple[str, str], list[tuple[Trial, TrialResult | None]]]:
        """(variant, row label) -> its trials in seed order, each with its result."""
        cells: dict[tuple[str, str], list[tuple[Trial, TrialResult | None]]] = {}
        for trial in self.trials:
            result = self.results.get(trial.identity)
            cells.setdefault((trial.variant, trial.row), []).append((trial, result))
        return cells

    def ran(self, variant: str, row: str) -> list[tuple[Trial, TrialResult]]:
        """The trials of a cell that have a result."""
        return [(t, result) for t, result in self.cells.get((variant, row), []) if result]

    def finished(self, variant: str, row: str) -> list[tuple[Trial, TrialResult]]:
        """The trials of a cell that neither diverged nor are missing."""
        return [(t, result) for t, result in self.ran(variant, row) if result.status == "finished"]

    @property
    def images(self) -> str:
        """The kind of images that are measured, as a unit names it: `held-out training`."""
        if self.measured == "test":
            return "test"
        on_validation_set = any(trial.on_validation_set for trial in self.trials)
        return "validation" if on_validation_set else "held-out training"

    @property
    def missing(self) -> int:
        """Number of trials without a result."""
        return sum(trial.identity not in self.results for trial in self.trials)

    def reference_labels(self, reference: str | None) -> dict[str, str]:
        """Column -> label of its reference row; columns without exactly one are left out."""
        columns: dict[str, dict[str, str]] = {}
        for trial in self.trials:
            columns.setdefault(trial.variant, {})[trial.row] = trial.loss.name
        found = {name: find_reference_rows(reference, rows) for name, rows in columns.items()}
        return {variant: rows[0] for variant, rows in found.items() if len(rows) == 1}


@dataclass(frozen=True)
class PlanWithResults:
    """A plan with the results stored so far, and the choice that follows from them.

    Attributes:
        plan: Plan with the points that its searches have proposed so far.
        results: Results of its trials by identity; trials that were not run are absent.
    """

    plan: Plan
    results: Results

    @cached_property
    def scores(self) -> Scores:
        """The scores by which parameters are chosen; empty without `selection`."""
        return held_out_scores(self.plan, self.results)

    @cached_property
    def chosen(self) -> Chosen:
        """The chosen row of each loss in each column; empty without `selection`."""
        return choose_rows(self.plan, self.scores)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The test set alone, or with `selection` the held-out part and then the test set."""
        if self.plan.suite.selection is None:
            return (Stage("test", self.plan.trials, self.results),)
        return (
            Stage("holdout", self.plan.trials, self.results),
            Stage("test", final_trials(self.plan, self.chosen), self.results),
        )

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """The trials of all stages, as far as they are known."""
        return tuple(trial for stage in self.stages for trial in stage.trials)

    @property
    def test_stage(self) -> Stage:
        return self.stages[-1]

    @property
    def latest_stage(self) -> Stage:
        """The last stage of which a trial was run; curves and costs are drawn from it."""
        started = [stage for stage in self.stages if stage.missing < len(stage.trials)]
        return started[-1] if started else self.stages[-1]


def load_plan_with_results(plan: Plan, read_results: ReadResults) -> PlanWithResults:
    """The plan with every point that its searches propose by the stored results, and the results.

    Args:
        plan: Plan as checked: with the first round of its searches.
        read_results: See `ReadResults`; called once for each trial.
    """
    results = dict(read_results(plan.trials))
    while (further := with_searched_rows(plan, held_out_scores(plan, results))).rows != plan.rows:
        known = {trial.identity for trial in plan.trials}
        results |= read_results([t for t in further.trials if t.identity not in known])
        plan = further
    found = PlanWithResults(plan, results)
    if plan.suite.selection is None:
        return found
    return replace(found, results={**results, **read_results(found.test_stage.trials)})


def held_out_scores(plan: Plan, results: Results) -> dict[str, float]:
    """The scores by which parameters are chosen; empty without `selection`."""
    metric = plan.selection_metric
    if metric is None:
        return {}
    return {
        trial.identity: result.metrics.get(metric.name, math.nan)
        if result.status == "finished"
        else math.nan
        for trial in plan.trials
        if (result := results.get(trial.identity)) is not None
    }


def choose_rows(plan: Plan, scores: Scores) -> dict[tuple[str, str], Row]:
    """Choose each loss's parameters by the best mean score; none without `selection`.

    Returns:
        (variant, loss name) -> the row of the best mean. A loss of which no row finished all its
        seeds is left out.
    """
    metric = plan.selection_metric
    if metric is None:
        return {}
    best = max if metric.higher_is_better else min
    finite: dict[tuple[str, str], list[float]] = {}
    for trial in plan.trials:
        if math.isfinite(score := scores.get(trial.identity, math.nan)):
            finite.setdefault((trial.variant, trial.row), []).append(score)
    chosen = {}
    for variant, name in itertools.product(
        plan.suite.variants, dict.fromkeys(row.loss.name for row in plan.rows)
    ):
        means = []
        for row in (row for row in plan.rows if row.loss.name == name):
            values = finite.get((variant, row.label), [])
            if len(values) == len(plan.suite.seeds):
                means.append((sum(values) / len(values), row))
        if means:
            chosen[variant, name] = best(means, key=lambda scored: scored[0])[1]
    return chosen


def final_trials(plan: Plan, chosen: Chosen) -> tuple[Trial, ...]:
    """The chosen rows and those to compare with them, trained on the whole training set.

    They are measured on the test set. Empty while nothing is chosen.
    """
    if not chosen:
        return ()
    cells = [(variant, row.label, row) for (variant, _), row in chosen.items()]
    cells += [(variant, row.label, row) for variant in plan.suite.variants for row in plan.compared]
    distinct = {(variant, label): row for variant, label, row in cells}
    return tuple(
        plan.trial(row, variant, seed)
        for seed in plan.suite.seeds
        for (variant, _), row in distinct.items()
    )


def with_searched_rows(plan: Plan, scores: Scores) -> Plan:
    """The plan with the points that its searches propose by these scores."""
    if not plan.searches:
        return plan
    rows = make_rows(plan.losses, plan.suite, partial(_mean_score, plan, scores))
    whole = plan.with_rows(rows)
    return whole if plan.only is None else whole.narrowed(plan.only)


def _mean_score(plan: Plan, scores: Scores, variant: str, point: Component) -> float | None:
    """Mean score of a point, lower being better; see `search.Score`."""
    selection, metric = plan.suite.selection, plan.selection_metric
    assert selection is not None
    assert metric is not None
    row = Row("", point, {})
    trials = [plan.trial(row, variant, seed, selection.holdout) for seed in plan.suite.seeds]
    values = [scores.get(trial.identity) for trial in trials]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    mean = sum(known) / len(known)
    return -mean if metric.higher_is_better else mean
