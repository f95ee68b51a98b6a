"""Checks of a suite that need no data: metrics, rows, columns, workers, pixel range."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from lossbench.assembly.components import resolve_losses
from lossbench.assembly.user_components import component_problems, exit_as_error
from lossbench.errors import (
    Loc,
    ParameterError,
    Problem,
    ProblemCollector,
    did_you_mean,
    format_exception,
)
from lossbench.evaluation import EVALUATIONS, Evaluation
from lossbench.evaluation.declarations import declaration_problem
from lossbench.planning.rows import Row, find_reference_rows, untuned_row
from lossbench.planning.search import Search
from lossbench.records import Metric
from lossbench.suite.columns import (
    ColumnSettings,
    column_recipe,
    column_settings,
    setting_location,
)
from lossbench.suite.grammar import SEARCH_EXAMPLE
from lossbench.suite.schema import Component, Input, LossEntry, Suite
from lossbench.training.optimizers import OPTIMIZERS
from lossbench.training.schedules import SCHEDULES

MAX_PLAUSIBLE = 2.0
"""Largest mean or std of the pixels (0 to 255) for which a mean or std of at most 1 in the suite is
plausible, as for masks of 0 and 1."""


def create_evaluations(
    suite: Suite, collector: ProblemCollector
) -> dict[str, tuple[Evaluation, ...]]:
    """The evaluations of each column with all parameters, up to the first that cannot be used."""
    shared = None
    created = {}
    for name, variant in suite.variants.items():
        if variant.evaluate is not None:
            where = ("variants", name, "evaluate")
            created[name] = _created(variant.evaluate, where, collector)
        else:
            if shared is None:
                shared = _created(suite.evaluate, ("evaluate",), collector)
            created[name] = shared
    return created


def _created(
    chosen: Iterable[Component], where: Loc, collector: ProblemCollector
) -> tuple[Evaluation, ...]:
    """Evaluations of a list in the suite, up to the first that cannot be used.

    Those of users are checked: their constructors may fail, and their metrics may be invalid.
    """
    evaluations: list[Evaluation] = []
    for each in chosen:
        entry = EVALUATIONS[each.name]
        if not entry.external:
            evaluations.append(entry.create(**each.params))
            continue
        try:
            with exit_as_error():
                evaluation = entry.create(**each.params)
                problem = f"{type(evaluation).__name__} is no Evaluation"
                if isinstance(evaluation, Evaluation):
                    problem = declaration_problem(evaluation.metrics(), evaluation.artifacts())
        except ParameterError:
            raise
        except Exception as error:
            problem = f"cannot be used: {format_exception(error)}"
        if problem:
            collector.add((*where, each.name), problem)
            break
        evaluations.append(evaluation)
    return tuple(evaluations)


def suite_metrics(
    suite: Suite, evaluations: Mapping[str, Sequence[Evaluation]], collector: ProblemCollector
) -> tuple[Metric, ...]:
    """Metrics of a suite, in the order of its columns.

    Checks that they are distinct in each column and the same metric in all columns, and that
    `selection` can use its metric.
    """
    if collector:
        return ()
    metrics: dict[str, Metric] = {}
    for variant, own in evaluations.items():
        where = setting_location(suite, variant, ("evaluate",))
        listed = [metric for evaluation in own for metric in evaluation.metrics()]
        names = [metric.name for metric in listed]
        twice = list(dict.fromkeys(name for name in names if names.count(name) > 1))
        if twice:
            verb = "is" if len(twice) == 1 else "are"
            collector.add(where, f"{', '.join(twice)} {verb} measured twice")
        for metric in listed:
            if metrics.setdefault(metric.name, metric) != metric:
                message = f"{metric.name} is another metric here than in other columns"
                collector.add(where, message)
    if not collector and suite.selection:
        for own in dict.fromkeys(map(tuple, evaluations.values())):
            collector.extend(_choice_problems(suite.selection.metric, own))
        if suite.selection.stop_early and suite.selection.metric != "error":
            message = (
                "compares rows by their held-out error while they train, and "
                f"{suite.selection.metric!r}, by which this suite chooses, is measured only at the "
                "end: remove stop_early, or choose by error"
            )
            collector.add(("selection", "stop_early"), message)
    for name in suite.min_effect:
        judged = [metric.name for metric in metrics.values() if metric.judged]
        if name not in judged:
            message = f"{name!r} is not measured by `evaluate`{did_you_mean(name, judged)}"
            if name in metrics:
                message = f"neither large nor small values of {name!r} are better"
            collector.add(("min_effect", name), message)
    return tuple(metrics.values())


def _choice_problems(metric: str, evaluations: Iterable[Evaluation]) -> list[Problem]:
    """Problems of a metric by which parameters cannot be chosen."""
    other = {e: [m.name for m in e.metrics()] for e in evaluations}
    held_out = [name for e, names in other.items() for name in names if not e.reads_other_data]
    described = {m.name for e in evaluations for m in e.metrics() if not m.judged}
    if metric in described:
        others = [name for name in held_out if name not in described]
        near = did_you_mean(metric, others)
        message = f"neither large nor small values of {metric!r} are better{near}"
        return [Problem(("selection", "metric"), message)]
    if any(m.optimistic for e in evaluations for m in e.metrics() if m.name == metric):
        others = [n for e in other for n in other[e] if n in held_out and n != metric]
        message = (
            f"{metric!r} is the value of the epoch that is best on the held-out part, but the "
            "network of the chosen row is trained to its last epoch; choose by the value at the "
            f"end{did_you_mean('error', others)}"
        )
        return [Problem(("selection", "metric"), message)]
    if metric in held_out:
        return []
    if any(metric in names for names in other.values()):
        message = (
            f"{metric!r} is measured on other data than the held-out part; choosing by it would "
            f"use test data{did_you_mean(metric, held_out)}"
        )
    else:
        message = f"{metric!r} is not measured by `evaluate`{did_you_mean(metric, held_out)}"
    return [Problem(("selection", "metric"), message)]


def search_problems(suite: Suite, losses: Iterable[LossEntry | Search]) -> list[Problem]:
    """Problems of a search without `selection.samples`, or the other way round."""
    searched = next((loss for loss in losses if isinstance(loss, Search)), None)
    samples = suite.selection.samples if suite.selection else None
    if searched is not None and samples is None:
        message = "needs a held-out part; add selection: {samples: 16} to the suite"
        if searched.tuned:
            message = "needs a number of points; add selection.samples, as in {samples: 16}"
            return [Problem(("tune", next(iter(searched.tuned)), "search"), message)]
        key = next(iter(searched.spaces))
        return [Problem(("losses", searched.loss.name, key, "search"), message)]
    if searched is None and samples is not None:
        where = "neither a loss nor `tune` has" if suite.tune else "no loss has"
        message = f"{where} a search, as in {SEARCH_EXAMPLE}"
        return [Problem(("selection", "samples"), message)]
    return []


def compared_rows(
    suite: Suite,
    losses: Iterable[LossEntry | Search],
    rows: Sequence[Row],
    collector: ProblemCollector,
) -> tuple[Row, ...]:
    """The rows that `selection.compare` names.

    With `tune`, they have the recipe's own values of all tuned keys: these are the values of a
    paper that chosen rows should be compared with. Searched parameters may then have any value.
    """
    if suite.selection is None:
        return ()
    loc: Loc = ("selection", "compare")
    by_loss = {row.loss.model_dump_json(): row for row in rows}
    entries = {row.entry for row in by_loss.values()}
    searches = [loss for loss in losses if isinstance(loss, Search)]
    found = []
    for index, loss in enumerate(resolve_losses(suite.selection.compare, loc, collector)):
        if isinstance(loss, Search):
            collector.add((*loc, index, loss.loss.name), "should be a row, not a search")
            continue
        row = by_loss.get(loss.loss.model_dump_json())
        if suite.tune and (search := next((s for s in searches if _is_point(loss.loss, s)), None)):
            row = next(row for row in rows if row.entry == search.entry)
        if loss.label is not None and loss.label not in entries:
            message = f"{loss.label!r} is no label of the suite"
            collector.add(
                (*loc, index, loss.name, "label"), message + did_you_mean(loss.label, entries)
            )
        elif row is None or (loss.label is not None and loss.label != row.entry):
            same_loss = (row for row in by_loss.values() if row.loss.name == loss.name)
            rows_of_loss = ", ".join(
                untuned_row(row, row.loss).label if suite.tune else row.label for row in same_loss
            )
            message = f"is none of the suite's rows: {rows_of_loss or 'no ' + loss.name}"
            collector.add((*loc, index), message)
        else:
            found.append(untuned_row(row, loss.loss) if suite.tune else row)
    return tuple(found)


def _is_point(loss: Component, search: Search) -> bool:
    """Whether a loss differs from that of a search in searched parameters only."""
    params = {key: loss.params.get(key) for key in search.loss.params if key in search.spaces}
    return search.loss.name == loss.name and {**search.loss.params, **params} == loss.params


def variant_problems(suite: Suite) -> list[Problem]:
    """Problems of columns that differ at most in `evaluate` and so have the same trainings."""
    problems: list[Problem] = []
    seen: list[ColumnSettings] = []
    for name in suite.variants:
        settings = replace(column_settings(suite, name), evaluate=())
        if settings in seen:
            other = list(suite.variants)[seen.index(settings)]
            message = f"is the same as {other}"
            if suite.variants[name].evaluate is not None:
                message += f" except for its evaluations; add them to {other}"
            problems.append(Problem(("variants", name), message))
        seen.append(settings)
    return problems


def reference_problems(
    suite: Suite, rows: Iterable[Row], compared: Iterable[Row] = ()
) -> list[Problem]:
    """Problems of a `reference` that matches no row, or several rows without `selection`."""
    if suite.reference is None:
        return []
    entries = {row.label: row.entry for row in rows}
    if suite.tune:  # the names of the tested rows; see `selection.final_rows`
        entries = {row.entry: row.entry for row in rows}
        entries |= {row.label: row.entry for row in compared}
    found = find_reference_rows(suite.reference, entries)
    if not found:
        message = f"{suite.reference!r} is no row{did_you_mean(suite.reference, entries)}"
        return [Problem(("reference",), message)]
    if suite.selection is None and len(found) > 1:
        message = f"{suite.reference!r} is {len(found)} rows; name one of {', '.join(found)}"
        return [Problem(("reference",), message)]
    return []


def worker_problems(suite: Suite, variant: str) -> list[Problem]:
    """Problems of a batch that cannot be divided into equal parts of at least two images."""
    recipe, workers = column_recipe(suite, variant), suite.resources.workers
    if workers > 1 and recipe.compile:
        message = f"supports one worker per trial only; resources.workers is {workers}"
        return [Problem(setting_location(suite, variant, ("recipe", "compile")), message)]
    batch = recipe.batch_size
    if batch % workers == 0 and batch >= 2 * workers:
        return []
    near = max(round(batch / workers), 2) * workers
    message = (
        f"should be a multiple of resources.workers ({workers}) with two or more images for each, "
        f"for example {near}, not {batch}"
    )
    return [Problem(setting_location(suite, variant, ("recipe", "batch_size")), message)]


def recipe_problems(suite: Suite, variant: str) -> list[Problem]:
    """Problems of parameters that optimizer or schedule accept only in other combinations."""
    recipe = column_recipe(suite, variant)
    found = {
        "optimizer": component_problems(OPTIMIZERS, recipe.optimizer),
        "schedule": component_problems(SCHEDULES, recipe.schedule, recipe.epochs),
    }
    return [
        problem.under(setting_location(suite, variant, ("recipe", part)))
        for part, problems in found.items()
        for problem in problems
    ]


def pixel_range_problems(
    scaling: Input, where: Loc, pixels: Callable[[], tuple[float, float]] | None
) -> list[Problem]:
    """Problems of a mean or std for pixels in [0, 1], as in torchvision, instead of [0, 255].

    A mean in (0, 1] or a std below 1 is refused, unless the images are dark or uniform enough for
    it. A mean of 0, a std of 1 and numbers above 1 are accepted.

    Args:
        scaling: Input of a recipe.
        where: Location of the input.
        pixels: Returns mean and std of the images' pixels; called only for suspicious numbers.
            None if the images are missing.
    """
    means, stds = _listed(scaling.mean), _listed(scaling.std)
    suspicious: list[tuple[str, float | list[float], str]] = []
    if 0 < max(means) <= 1 and min(means) >= 0:
        suspicious.append(("mean", scaling.mean, "nearly black"))
    if max(stds) <= 1 and min(stds) < 1:
        suspicious.append(("std", scaling.std, "hardly a difference"))
    if not suspicious:
        return []
    actual = dict(zip(("mean", "std"), pixels(), strict=True)) if pixels else {}
    return [
        Problem(
            (*where, key),
            f"pixels are 0 to 255 here, and {_shown(value)} of 255 is {effect}"
            + (f" (these images have {actual[key]:.3g})" if actual else "")
            + f"; did you mean {_shown(_times(value, 255))} (= {_shown(value)} x 255)?",
        )
        for key, value, effect in suspicious
        if actual.get(key, math.inf) > MAX_PLAUSIBLE
    ]


def _listed(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


def _times(value: float | list[float], factor: float) -> float | list[float]:
    return [v * factor for v in value] if isinstance(value, list) else value * factor


def _shown(value: float | list[float]) -> str:
    numbers = [f"{v:.4g}" for v in _listed(value)]
    return f"[{', '.join(numbers)}]" if isinstance(value, list) else numbers[0]
