"""Conversion of current results to the form of a baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from lossbench.errors import RequestError
from lossbench.gate.baseline import (
    Baseline,
    BaselineCell,
    BaselineColumn,
    BaselineData,
    BaselineMetric,
    Conditions,
    join_distinct,
)
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults, Stage
from lossbench.planning.trial import Trial
from lossbench.records import Results, TrialResult
from lossbench.suite.schema import Component, Recipe

_MAX_NAMED = 6  # cells that a message lists; it counts the others


def baseline_from_results(found: PlanWithResults, command: str) -> Baseline:
    """Current results of a suite in the form of a baseline.

    Args:
        found: Plan of the suite, perhaps narrowed to some cells, with its results.
        command: Command that trains the cells.

    Raises:
        RequestError: A result or a measurement is missing.
    """
    plan, results = found.plan, found.results
    missing = [trial for trial in found.trials if not found.is_complete(trial)]
    if missing:
        raise RequestError(_missing_results(missing, results, command))
    there = [results[trial.identity] for trial in found.trials]
    conditions = conditions_of(plan)
    return Baseline(
        suite=plan.suite.suite,
        command=command,
        measured=_day(there),
        device=join_distinct(result.device for result in there),
        environment=_environment(there),
        data=data_of(plan),
        conditions_digest=conditions.digest,
        conditions=conditions,
        metrics=metrics_of(plan),
        cells=[cell for stage in found.stages for cell in _cells(plan, stage)],
    )


def data_of(plan: Plan) -> BaselineData:
    """Data of the suite's first column, with all other data that evaluations read."""
    others: dict[str, str] = {}
    for name in plan.suite.variants:
        others = {**_other_digests(plan, name), **others}
    return BaselineData(
        name=_last_part(plan.settings[next(iter(plan.suite.variants))].dataset.name),
        digest=plan.table_digest,
        other_digests=others,
    )


def conditions_of(plan: Plan) -> Conditions:
    suite, first, classes = plan.suite, plan.trials[0], plan.suite.dataset.classes
    holdout = suite.selection.holdout if suite.selection else 0.0
    shared = Conditions(
        classes=None if classes is None else [int(k) for k in classes],  # resolved in a plan
        train_size=suite.dataset.train_size,
        test_size=suite.dataset.test_size,
        recipe=_recipe(plan, suite.recipe),
        variants={},
        evaluate=_sorted(suite.evaluate),
        holdout=holdout,
        threads=first.threads,
        workers=first.workers,
    )
    data = data_of(plan)
    variants = {name: _column(plan, name, shared, data) for name in suite.variants}
    return shared.model_copy(update={"variants": variants})


def _column(plan: Plan, name: str, shared: Conditions, data: BaselineData) -> BaselineColumn:
    """A column, with those conditions that differ from the shared ones."""
    settings, column = plan.settings[name], plan.columns[name]
    dataset = _dataset(plan.trial(plan.rows[0], name, plan.suite.seeds[0], column.holdout))
    digest, others = column.validation_digest or column.data_digest, _other_digests(plan, name)
    own: dict[str, Any] = {}
    if digest != data.digest or not others.items() <= data.other_digests.items():
        own["data"] = BaselineData(
            name=_last_part(settings.dataset.name), digest=digest, other_digests=others
        )
    if dataset != shared.dataset:
        own["dataset"] = dataset
    if (recipe := _recipe(plan, settings.recipe)) != shared.recipe:
        own["recipe"] = recipe
    if (evaluate := _sorted(settings.evaluate)) != shared.evaluate:
        own["evaluate"] = evaluate
    if column.holdout != shared.holdout:
        own["holdout"] = column.holdout
    return BaselineColumn(
        model=plan.model_with_weights_digest(name), augment=list(settings.augment), **own
    )


def _recipe(plan: Plan, recipe: Recipe) -> Recipe:
    """The recipe without the tuned parameters of its optimizer and schedule.

    Cells have the tuned values; the recipe's own are used by rows to compare only.
    """
    if plan.compared:
        return recipe
    content = recipe.model_dump()
    for key in plan.suite.tune:
        _, part, *rest = key.split(".", 2)
        if rest:
            content[part]["params"].pop(rest[0], None)
    return Recipe.model_validate(content)


def _other_digests(plan: Plan, variant: str) -> dict[str, str]:
    """Digests of the other data that a column's evaluations read, by the name in the suite."""
    evaluations = plan.columns[variant].evaluations
    return {name: digest for e in evaluations for name, digest in e.other_digests.items()}


def _sorted(evaluations: Iterable[Component]) -> list[Component]:
    plain = (Component(name=e.name, params=e.params) for e in evaluations)
    return sorted(plain, key=lambda evaluation: evaluation.model_dump_json())


def _last_part(name: str) -> str:
    """Name of a data set without the folders of this machine."""
    return name.rpartition("/")[2]


def _dataset(trial: Trial) -> dict[str, Any]:
    """Part of the data set, and conditions of the training set, that determine the numbers."""
    labels = {"holdout_labels": "clean"} if trial.measures_clean_labels else {}
    return {**trial.dataset.identifying(), **labels}


def metrics_of(plan: Plan) -> list[BaselineMetric]:
    """Metrics of a baseline, with the minimum effects that the suite has."""
    metrics, min_effects = [], plan.suite.min_effect
    if (metric := plan.selection_metric) is not None:
        metrics.append((metric.json_name(held_out=True), metric))
    metrics += [(metric.name, metric) for metric in plan.metrics if metric.judged]
    return [
        BaselineMetric(
            name=name,
            unit=metric.unit,
            direction="higher" if metric.higher_is_better else "lower",
            **({"min_effect": min_effects[metric.name]} if metric.name in min_effects else {}),
        )
        for name, metric in metrics
    ]


def _cells(plan: Plan, stage: Stage) -> list[BaselineCell]:
    """Cells of the report's tables: on the held-out part only the metric of `selection`."""
    held_out = stage.measured == "holdout"
    metrics = tuple(metric for metric in plan.metrics if metric.judged)
    if held_out:
        assert plan.selection_metric is not None
        metrics = (plan.selection_metric,)
    cells = []
    for measured in metrics:
        name = measured.name
        columns = plan.variants_with(measured)
        for (variant, row), trials in stage.cells.items():
            if variant not in columns:
                continue
            finished = stage.finished(variant, row)
            values = {
                t.seed: r.metrics[name]
                for t, r in finished
                if math.isfinite(r.metrics.get(name, math.nan))
            }
            ended = [t.seed for t, r in trials if r is not None and not r.pruned]
            diverged = [seed for seed in ended if seed not in values]
            if ended:
                loss = trials[0][0].loss
                cells.append(
                    BaselineCell(
                        variant=variant,
                        row=row,
                        loss=loss.name,
                        params=loss.params,
                        tuned=dict(stage.rows[variant, row].tuned),
                        metric=measured.json_name(held_out=held_out),
                        seeds=list(values),
                        values=list(values.values()),
                        diverged=diverged,
                    )
                )
    return cells


def _missing_results(missing: list[Trial], results: Results, command: str) -> str:
    """Message on trials without a result, and on trained ones that lack evaluations."""
    trained = [trial for trial in missing if trial.identity in results]
    untrained = [trial for trial in missing if trial.identity not in results]
    lines = []
    if untrained:
        lines.append(f"{len(untrained)} trials have no result: {_cells_text(untrained)}")
    if trained:
        lacking = dict.fromkeys(n for t in trained for n in results[t.identity].unmeasured)
        evaluations = ", ".join(lacking)
        lines.append(
            f"{len(trained)} trials are trained, but {evaluations} is not measured: "
            f"{_cells_text(trained)}"
        )
    return "\n".join([*lines, f"run them first: {command}"])


def _cells_text(trials: list[Trial]) -> str:
    """`default/softmax (seed 0, 1); default/lgm (seed 0)`."""
    seeds: dict[str, list[int]] = {}
    for trial in trials:
        seeds.setdefault(f"{trial.variant}/{trial.row}", []).append(trial.seed)
    named = [f"{cell} (seed {', '.join(map(str, s))})" for cell, s in seeds.items()]
    rest = f" and {len(named) - _MAX_NAMED} more cells" if len(named) > _MAX_NAMED else ""
    return f"{'; '.join(named[:_MAX_NAMED])}{rest}"


def _day(results: list[TrialResult]) -> str:
    ended_ms = max((r.history[-1].timestamp_ms for r in results if r.history), default=0)
    return datetime.fromtimestamp(ended_ms / 1000, UTC).date().isoformat()


def _environment(results: list[TrialResult]) -> dict[str, str]:
    keys = dict.fromkeys(key for result in results for key in result.environment)
    return {key: join_distinct(r.environment.get(key, "") for r in results) for key in keys}
