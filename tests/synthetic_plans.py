"""Fixtures: plans of YAML text, and results for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from lossbench.planning.look_record import LookRecord
from lossbench.planning.plan import Plan
from lossbench.planning.rows import make_rows
from lossbench.planning.search import SearchPoints
from lossbench.planning.selection import PlanWithResults, choose_rows, final_trials
from lossbench.planning.trial import Trial
from lossbench.records import Metric, TrialResult
from lossbench.suite.grammar import expand_grids
from lossbench.suite.load import load_suite
from tests.report.synthetic_report import DEFAULTS, HEAD, Results, result_of


def with_class_counts(plan: Plan, counts: Mapping[str, tuple[int, ...]]) -> Plan:
    """Plan whose columns have these numbers of images per class."""
    columns = {
        name: replace(column, facts=replace(column.facts, class_counts=counts))
        for name, column in plan.columns.items()
    }
    return replace(plan, columns=columns)


class SyntheticStore:
    """Store in which every trial has a result.

    Attributes:
        asked: Identities of the trials that were looked up.
        points: Stored points of searches.
        records: Stored records of looks.
    """

    def __init__(
        self, error: Callable[[Trial], float], points: Mapping[str, SearchPoints] | None = None
    ) -> None:
        self.asked: list[str] = []
        self.points = points or {}
        self.records: dict[str, LookRecord] = {}
        self._error = error

    def results(self, trials: Iterable[Trial]) -> Results:
        listed = list(trials)
        self.asked += [trial.identity for trial in listed]
        return {trial.identity: result_of(trial, self._error(trial)) for trial in listed}

    def search_points(self, suite: str) -> Mapping[str, SearchPoints]:
        return self.points

    def look_records(self, suite: str) -> Mapping[str, LookRecord]:
        return self.records


@pytest.fixture
def make_plan(tmp_path: Path) -> Callable[..., Plan]:
    """YAML below the recipe -> plan, every loss with its full parameters."""

    def make(body: str, head: str = HEAD) -> Plan:
        path = tmp_path / "suite.yaml"
        path.write_text(head + body, encoding="utf-8")
        suite = load_suite(path)
        losses = [
            point.model_copy(update={"params": {**DEFAULTS[point.name], **point.params}})
            for loss in suite.losses
            for point in expand_grids(loss)
        ]
        labels = [(e.name, e.name.replace("top5_", "top-5 ")) for e in suite.evaluate]
        metrics = tuple(
            Metric(name=name, label=label, unit="% of images") for name, label in labels
        )
        rows = make_rows(losses, suite)
        return Plan(suite, rows, "0123456789abcdef", metrics, losses=tuple(losses))

    return make


@pytest.fixture
def fill() -> Callable[..., Results]:
    """Plan and errors by `variant/row` (a list, one a seed; None: missing; nan: diverged)."""

    def fill(plan: Plan, errors: Mapping[str, list[float | None]]) -> Results:
        results = {}
        for trial in plan.trials:
            error = errors[f"{trial.variant}/{trial.row}"][plan.suite.seeds.index(trial.seed)]
            if error is not None:
                diverged = error != error
                status = "diverged" if diverged else "finished"
                results[trial.identity] = result_of(trial, error, status=status)
        return results

    return fill


@pytest.fixture
def run_all() -> Callable[[Plan], Results]:
    """Every trial of a plan, and of its choice; each row has its own level of error."""

    def run_all(plan: Plan) -> Results:
        levels = {row.label: 1 + 0.37 * i for i, row in enumerate(reversed(plan.rows))}

        def measure(trials: tuple[Trial, ...]) -> Results:
            return {t.identity: result_of(t, levels[t.row] + 0.05 * t.seed) for t in trials}

        results = measure(plan.trials)
        if plan.suite.selection:
            scores = {identity: r.metrics["error"] for identity, r in results.items()}
            results |= measure(final_trials(plan, choose_rows(plan, scores)))
        return results

    return run_all


MakeSuite = Callable[..., PlanWithResults]


@pytest.fixture
def make_suite(make_plan: Callable[..., Plan]) -> MakeSuite:
    """Name, losses and errors by row label -> a suite with results, two seeds each."""

    def result(trial: Trial, error: float | None) -> TrialResult:
        assert error is not None
        status = "diverged" if math.isnan(error) else "finished"
        return result_of(trial, error + 0.1 * trial.seed, status=status)

    def make(
        name: str, losses: str, errors: dict[str, float | None], more: str = ""
    ) -> PlanWithResults:
        plan = make_plan(f"seeds: [0, 1]\nlosses: {losses}\n{more}")
        plan = replace(plan, suite=plan.suite.model_copy(update={"suite": name}))
        results = {t.identity: result(t, errors[t.row]) for t in plan.trials if errors[t.row]}
        if plan.suite.selection:
            scores = {i: r.metrics["error"] for i, r in results.items()}
            final = final_trials(plan, choose_rows(plan, scores))
            results |= {t.identity: result(t, errors[t.row]) for t in final}
        return PlanWithResults(plan, results)

    return make
