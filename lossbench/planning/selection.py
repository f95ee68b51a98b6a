"""Choice of parameters: scores on the held-out part, chosen rows, and their final trials."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, Protocol

from lossbench.planning.look_record import LookRecord
from lossbench.planning.looks import with_stored_looks
from lossbench.planning.plan import Plan
from lossbench.planning.rows import Row, find_reference_rows
from lossbench.planning.search import SearchPoints
from lossbench.planning.searched_rows import Scores, with_searched_rows
from lossbench.planning.trial import Trial
from lossbench.records import Results, TrialResult

Chosen = Mapping[tuple[str, str], Row]
"""(variant, entry of the suite) -> row; see `Row.entry`."""


class ResultStore(Protocol):
    """Store of results, such as MLflow."""

    def results(self, trials: Iterable[Trial]) -> Results:
        """Return the stored results by identity; trials that were not trained are absent.

        Each result has the metrics of its trial's evaluations, without those not measured yet.
        """

    def search_points(self, suite: str) -> Mapping[str, SearchPoints]:
        """Return the points that the searches of a suite have proposed, by `search_identity`."""

    def look_records(self, suite: str) -> Mapping[str, LookRecord]:
        """Return the records of looks at tables of a suite, by `LookRecord.identity`."""


@dataclass(frozen=True)
class Stage:
    """Trials that are measured on the same images.

    Attributes:
        measured: `test`, or `holdout` for the stage in which `selection` chooses: on a held-out
            part of the training set, or on the validation set.
        trials: Trials in the suite's order.
        results: Results of the trials that were run.
        rows: (variant, row label) -> row, in the order of the table.
    """

    measured: Literal["test", "holdout"]
    trials: tuple[Trial, ...]
    results: Results
    rows: Mapping[tuple[str, str], Row] = field(default_factory=dict)

    @cached_property
    def listed_rows(self) -> tuple[Row, ...]:
        """One row per label; with `tune`, its parameters may differ between columns."""
        listed: dict[str, Row] = {}
        for row in self.rows.values():
            listed.setdefault(row.label, row)
        return tuple(listed.values())

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
        """The kind of the measured images: `test`, `validation`, `held-out training`, `held-out`.

        `held-out` if some columns use a validation set and others held-out training images.
        """
        if self.measured == "test":
            return "test"
        kinds = {trial.on_validation_set for trial in self.trials}
        if len(kinds) > 1:
            return "held-out"
        return "validation" if True in kinds else "held-out training"

    @property
    def missing(self) -> int:
        """Number of trials without a result."""
        return sum(trial.identity not in self.results for trial in self.trials)

    def reference_labels(self, reference: str | None) -> dict[str, str]:
        """Column -> label of its reference row; columns without a unique one are left out."""
        columns: dict[str, dict[str, str]] = {}
        for trial in self.trials:
            columns.setdefault(trial.variant, {})[trial.row] = trial.entry
        found = {name: find_reference_rows(reference, rows) for name, rows in columns.items()}
        return {variant: rows[0] for variant, rows in found.items() if len(rows) == 1}


@dataclass(frozen=True)
class PlanWithResults:
    """A plan with the results stored so far, and the parameters chosen by them.

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
        """The chosen row of each entry in each column; empty without `selection`."""
        return choose_rows(self.plan, self.scores)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The test set alone, or with `selection` the held-out part and then the test set."""
        if self.plan.suite.selection is None:
            return (Stage("test", self.plan.trials, self.results, _row_cells(self.plan)),)
        final = final_rows(self.plan, self.chosen)
        trials = final_trials(self.plan, self.chosen)
        return (
            Stage("holdout", self.plan.trials, self.results, _row_cells(self.plan)),
            Stage("test", trials, self.results, _in_order(self.plan, final)),
        )

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """The known trials of all stages; different rows may share one."""
        return distinct_trials(trial for stage in self.stages for trial in stage.trials)

    def is_complete(self, trial: Trial) -> bool:
        """Whether a trial is trained and all its evaluations are measured."""
        return is_complete(trial, self.results)

    @property
    def test_stage(self) -> Stage:
        return self.stages[-1]

    @property
    def latest_stage(self) -> Stage:
        """The last stage with a result; curves and costs are drawn from it."""
        started = [stage for stage in self.stages if stage.missing < len(stage.trials)]
        return started[-1] if started else self.stages[-1]


def distinct_trials(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """The trials, each training once.

    With `tune`, a row of `compare` has the trainings of the chosen row if the recipe's own values
    are chosen.
    """
    distinct: dict[str, Trial] = {}
    for trial in trials:
        distinct.setdefault(trial.identity, trial)
    return tuple(distinct.values())


def is_complete(trial: Trial, results: Results) -> bool:
    """Whether a trial is trained and all its evaluations are measured."""
    result = results.get(trial.identity)
    return result is not None and not result.unmeasured


def load_plan_with_results(plan: Plan, store: ResultStore) -> PlanWithResults:
    """Read the results of a plan; its searches propose points given the stored results.

    A plan whose seeds were added until its table was decided gets the recorded seeds.

    Args:
        plan: Checked plan with the first round of its searches.
        store: Store of the results; each trial is looked up once.
    """
    plan = with_stored_points(with_stored_looks(plan, store), store)
    results = dict(store.results(plan.trials))
    while (further := with_searched_rows(plan, held_out_scores(plan, results))).rows != plan.rows:
        known = {trial.identity for trial in plan.trials}
        results |= store.results([t for t in further.trials if t.identity not in known])
        plan = further
    found = PlanWithResults(plan, results)
    if plan.suite.selection is None:
        return found
    return replace(found, results={**results, **store.results(found.test_stage.trials)})


def with_stored_points(plan: Plan, store: ResultStore) -> Plan:
    """The plan with the stored points of its searches in the first round."""
    if not plan.searches:
        return plan
    stored = store.search_points(plan.suite.suite)
    return with_searched_rows(replace(plan, search_points=stored), {})


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
        and (metric.name in result.metrics or not result.unmeasured)
    }


def choose_rows(plan: Plan, scores: Scores) -> dict[tuple[str, str], Row]:
    """Choose each entry's parameters by the best mean score; empty without `selection`.

    Returns:
        (variant, entry) -> row with the best mean. An entry is left out if none of its rows has
        finished with all seeds.
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
    for variant, entry in itertools.product(
        plan.suite.variants, dict.fromkeys(row.entry for row in plan.rows)
    ):
        means = []
        for row in (row for row in plan.rows if row.entry == entry):
            values = finite.get((variant, row.label), [])
            if len(values) == len(plan.suite.seeds):
                means.append((sum(values) / len(values), row))
        if means:
            chosen[variant, entry] = best(means, key=lambda scored: scored[0])[1]
    return chosen


def final_trials(plan: Plan, chosen: Chosen) -> tuple[Trial, ...]:
    """Trials of the chosen rows and of `compare` on the whole training set and the test set.

    Empty if no row is chosen yet.
    """
    final = final_rows(plan, chosen)
    return tuple(
        plan.trial(row, variant, seed)
        for seed in plan.suite.seeds
        for (variant, _), row in final.items()
    )


def final_rows(plan: Plan, chosen: Chosen) -> dict[tuple[str, str], Row]:
    """Chosen rows and those of `compare`, in the suite's order; empty if no row is chosen yet.

    With `tune`, a chosen row has the name of its entry, as in `softmax`: a tuned learning rate
    usually differs between columns, so rows named by their values would have a cell in one column
    each, and no row could be compared or ranked across columns. The chosen values are reported
    next to the table. Without `tune`, rows are named by their parameters.

    Returns:
        (variant, row label) -> row.
    """
    if not chosen:
        return {}
    if not plan.suite.tune:
        cells = [(variant, row) for (variant, _), row in chosen.items()]
        cells += itertools.product(plan.suite.variants, plan.compared)
    else:
        cells = []
        for name in dict.fromkeys(row.entry for row in plan.all_rows):
            for variant in plan.suite.variants:
                if row := chosen.get((variant, name)):
                    cells.append((variant, replace(row, label=name, variants=None)))
            own = (row for row in plan.compared if row.entry == name)
            cells += [(variant, row) for row in own for variant in plan.suite.variants]
    return {(variant, row.label): row for variant, row in cells}


def _in_order(plan: Plan, final: Mapping[tuple[str, str], Row]) -> Mapping[tuple[str, str], Row]:
    """The final rows in the order of the suite."""
    if plan.suite.tune:
        return final
    places = {row.label: place for place, row in enumerate(plan.rows)}
    return dict(sorted(final.items(), key=lambda item: places[item[0][1]]))


def _row_cells(plan: Plan) -> dict[tuple[str, str], Row]:
    """(variant, row label) -> row of the first stage."""
    return {
        (variant, row.label): row
        for row in plan.rows
        for variant in plan.suite.variants
        if row.applies_to(variant)
    }
