"""Which trials are measured on the same images, and what a suite with `selection` chose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from lossbench.analysis.edges import edge_warnings
from lossbench.planning.plan import Plan
from lossbench.planning.rows import Row
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult

Results = Mapping[str, TrialResult]
"""By the identity of the trial; a trial that was not run is absent."""
Chosen = Mapping[tuple[str, str], Row]
"""(variant, loss name) -> row."""
Arrays = Mapping[str, np.ndarray[Any, Any]]
ReadArrays = Callable[[str, str], Arrays | None]
"""(trial identity, artifact name) -> its arrays, or None where there are none."""


@dataclass(frozen=True)
class Stage:
    """Trials that are measured on the same images.

    Attributes:
        measured: `test`, or `holdout` for what `selection` chooses on: a held-out part of the
            training set, or the validation set.
        trials: In the suite's order.
        results: Of these trials, where they were run.
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
        return sum(trial.identity not in self.results for trial in self.trials)


def choose(plan: Plan, results: Results) -> Chosen:
    """The row of each loss with the lowest held-out mean; empty without `selection`."""
    selection = plan.suite.selection
    if selection is None:
        return {}
    scores = {
        trial.identity: results[trial.identity].metrics[selection.metric]
        for trial in plan.trials
        if trial.identity in results
        and results[trial.identity].status == "finished"
        and selection.metric in results[trial.identity].metrics
    }
    return plan.choose(scores)


def stages(plan: Plan, results: Results, chosen: Chosen) -> tuple[Stage, ...]:
    """The test set alone, or with `selection` the held-out part and then the test set."""
    if plan.suite.selection is None:
        return (Stage("test", plan.trials, results),)
    return (
        Stage("holdout", plan.trials, results),
        Stage("test", plan.final_trials(chosen), results),
    )


def shown_stage(found: Iterable[Stage]) -> Stage:
    """The last stage of which something was run: what curves and costs are drawn from."""
    listed = list(found)
    return next((s for s in reversed(listed) if s.missing < len(s.trials)), listed[-1])


def selection_notes(plan: Plan, holdout: Stage, chosen: Chosen) -> list[str]:
    """What a reader should know before trusting the choice."""
    lines = edge_warnings(plan, chosen)
    if holdout.missing:
        lines.append(
            f"{holdout.missing} of {len(holdout.trials)} held-out trials are missing: "
            "the choice may still change"
        )
    names = dict.fromkeys(row.loss.name for row in plan.rows)
    lines += [
        f"{variant}: nothing chosen for {name}, because no row of it finished all its seeds"
        for variant in plan.suite.variants
        for name in names
        if (variant, name) not in chosen
    ]
    return lines


def reference_label(reference: str | None, rows: Iterable[Row]) -> str | None:
    """The row that a suite's `reference` (a label or a loss's name) means; None if not just one."""
    fitting = [row.label for row in rows if reference in (row.label, row.loss.name)]
    return fitting[0] if len(fitting) == 1 else None


def reference_labels(reference: str | None, stage: Stage) -> dict[str, str]:
    """Column -> label of its reference row; columns without just one are left out."""
    columns: dict[str, dict[str, str]] = {}
    for trial in stage.trials:
        columns.setdefault(trial.variant, {})[trial.row] = trial.loss.name
    found = {}
    for variant, names in columns.items():
        fitting = [label for label, name in names.items() if reference in (label, name)]
        if len(fitting) == 1:
            found[variant] = fitting[0]
    return found
