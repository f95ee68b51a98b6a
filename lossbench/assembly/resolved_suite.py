"""A suite with its components resolved without data, and its plan if the data are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lossbench.assembly.checks_without_data import (
    compared_rows,
    create_evaluations,
    pixel_range_problems,
    recipe_problems,
    reference_problems,
    search_problems,
    suite_metrics,
    variant_problems,
    worker_problems,
)
from lossbench.assembly.components import resolve_components, resolve_losses
from lossbench.assembly.label_checks import label_problems
from lossbench.assembly.tuning import (
    budget_problems,
    grid_problems,
    resolve_tune,
    with_tuned_spaces,
)
from lossbench.data.loading import explain_missing
from lossbench.data.sources import DATASETS
from lossbench.errors import Loc, ParameterError, Problem, ProblemCollector, UnknownNameError
from lossbench.evaluation import Evaluation
from lossbench.losses import LOSSES
from lossbench.planning.plan import Plan
from lossbench.planning.rows import Row, make_rows
from lossbench.planning.search import Search
from lossbench.records import Metric
from lossbench.suite.columns import column_dataset, column_recipe, setting_location
from lossbench.suite.schema import LossEntry, Suite

ANY_CLASSES, ANY_DIMENSION = 10, 2
"""Number of classes and dimension of the heads that are created if the data are missing."""


@dataclass(frozen=True)
class ResolvedSuite:
    """A suite whose names have been looked up and whose parameters are checked and complete.

    Attributes:
        suite: Suite with all defaults except for those of its losses.
        losses: Losses with all defaults, and searches.
        rows: Rows in the suite's order, with grids expanded.
        compared: Rows that the suite's `selection` tests in addition to the chosen ones.
        evaluations: Variant -> evaluations of its trials.
        metrics: Metrics of the evaluations, in their order.
    """

    suite: Suite
    losses: tuple[LossEntry | Search, ...]
    rows: tuple[Row, ...]
    compared: tuple[Row, ...]
    evaluations: Mapping[str, tuple[Evaluation, ...]]
    metrics: tuple[Metric, ...]


def resolve_suite(suite: Suite) -> ResolvedSuite:
    """Check the names and parameters of a suite.

    Raises:
        SuiteError: Names or parameters have problems; the error has all of them.
    """
    collector = ProblemCollector()
    resolved = resolve_components(suite, collector)
    losses = resolve_losses(suite.losses, ("losses",), collector)
    evaluations = {} if collector else create_evaluations(resolved, collector)
    metrics = suite_metrics(suite, evaluations, collector)
    if suite.tune:  # its values are checked with the recipe
        suite.origin.raise_if_any(collector)
    recipes = {} if collector else {v: column_recipe(resolved, v) for v in suite.variants}
    tune = resolve_tune(resolved, recipes, collector)
    resolved = resolved.model_copy(update={"tune": dict(tune.given)})
    if suite.tune:
        suite.origin.raise_if_any(collector)
    losses = with_tuned_spaces(losses, tune, collector)
    if suite.tune:
        suite.origin.raise_if_any(collector)
    collector.extend(grid_problems(suite, tune))
    collector.extend(search_problems(suite, losses))
    suite.origin.raise_if_any(collector)
    rows = make_rows(losses, resolved)
    collector.extend(label_problems(suite, losses, rows))
    collector.extend(budget_problems(suite, losses, rows))
    compared = compared_rows(suite, losses, rows, collector)
    collector.extend(reference_problems(suite, rows, compared))
    suite.origin.raise_if_any(collector)
    return ResolvedSuite(resolved, tuple(losses), rows, compared, evaluations, metrics)


def missing_data(resolved: ResolvedSuite, data_root: Path) -> tuple[str, ...]:
    """One message per data set that is not in the data root, with the way to get it.

    Raises:
        SuiteError: A data set is unknown.
    """
    suite, wanted = resolved.suite, _wanted_data(resolved)
    messages = []
    for name, path in wanted.items():
        try:
            messages.append(explain_missing(name, data_root))
        except UnknownNameError as error:
            raise suite.origin.error([Problem(path, str(error))]) from None
    return tuple(dict.fromkeys(filter(None, messages)))


def dataset_names(resolved: ResolvedSuite) -> tuple[str, ...]:
    """Names of all data sets that the columns and evaluations read, directly or indirectly."""
    names = list(_wanted_data(resolved))
    for name in names:
        if "/" not in name and name in DATASETS and not DATASETS.library_of(name):
            derived_from = DATASETS[name].create().derived_from
            names += [derived_from] if derived_from else []
    return tuple(names)


def _wanted_data(resolved: ResolvedSuite) -> dict[str, Loc]:
    """Name of each data set -> location in the suite that asks for it first."""
    suite = resolved.suite
    wanted: dict[str, Loc] = {}
    for variant, evaluations in resolved.evaluations.items():
        dataset = column_dataset(suite, variant)
        wanted.setdefault(dataset.name, setting_location(suite, variant, ("dataset", "name")))
        where = setting_location(suite, variant, ("evaluate",))
        for index, evaluation in enumerate(evaluations):
            if evaluation.dataset:
                wanted.setdefault(evaluation.dataset, (*where, index))
    return wanted


def plan_without_data(resolved: ResolvedSuite, missing: tuple[str, ...]) -> Plan:
    """Plan of a suite whose data are missing; the identities of its trials are meaningless.

    Raises:
        SuiteError: The suite has problems that do not depend on the data.
    """
    suite, collector = resolved.suite, ProblemCollector()
    collector.extend(variant_problems(suite))
    for variant in suite.variants:
        collector.extend(worker_problems(suite, variant))
        where = setting_location(suite, variant, ("recipe", "input"))
        collector.extend(pixel_range_problems(column_recipe(suite, variant).input, where, None))
        collector.extend(recipe_problems(suite, variant))
    for loss in (row.loss for row in (*resolved.rows, *resolved.compared)):
        try:
            LOSSES[loss.name].create(ANY_CLASSES, ANY_DIMENSION, **loss.params)
        except ParameterError as error:
            collector.extend(error.problems, under=("losses", loss.name))
        except Exception:  # a loss may need other sizes, and a plugin may raise any exception
            continue
    suite.origin.raise_if_any(collector)
    return Plan(
        suite=suite,
        rows=resolved.rows,
        table_digest="",
        metrics=resolved.metrics,
        compared=resolved.compared,
        losses=resolved.losses,
        notation={row.loss.name: LOSSES[row.loss.name].notation for row in resolved.rows},
        missing=missing,
    )
