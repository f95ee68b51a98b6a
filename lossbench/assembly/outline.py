"""A suite as far as it can be checked without its data, and which of the data are missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path as FilePath

from lossbench.assembly.resolve import resolve_components, resolve_losses
from lossbench.assembly.validate import (
    check_reference,
    compared_rows,
    scale_problems,
    search_settings,
    suite_metrics,
    team_problems,
    variant_problems,
)
from lossbench.data.sources import explain_missing
from lossbench.errors import ParameterError, Path, Problem, UnknownNameError
from lossbench.evaluation import EVALUATIONS, Evaluation
from lossbench.losses import LOSSES
from lossbench.planning.plan import Plan
from lossbench.planning.rows import Row, make_rows
from lossbench.planning.search import Search
from lossbench.records import Metric
from lossbench.suite.schema import Component, Suite
from lossbench.training.optimizers import OPTIMIZERS

ANY_CLASSES, ANY_DIMENSION = 10, 2
"""With these a loss is tried whose data are missing."""


@dataclass(frozen=True)
class Outline:
    """A suite with its names looked up, its parameters checked and their defaults filled in.

    Attributes:
        suite: With every default, but for its losses.
        losses: What the rows come from, with the suite's searches.
        rows: In the suite's order, grids expanded.
        compared: Rows that the suite's `selection` tests beside the chosen ones.
        evaluations: What is measured.
        metrics: What these give, in their order.
    """

    suite: Suite
    losses: tuple[Component | Search, ...]
    rows: tuple[Row, ...]
    compared: tuple[Row, ...]
    evaluations: tuple[Evaluation, ...]
    metrics: tuple[Metric, ...]


def make_outline(suite: Suite) -> Outline:
    """Check the names and parameters of a suite.

    Raises:
        SuiteError: Everything that is wrong with them.
    """
    problems: list[Problem] = []
    resolved = resolve_components(suite, problems)
    losses = resolve_losses(suite.losses, ("losses",), problems)
    evaluations: list[Evaluation] = []
    if not problems:
        evaluations = [EVALUATIONS[e.name].create(**e.params) for e in resolved.evaluate]
    metrics = suite_metrics(suite, evaluations, problems)
    problems += search_settings(suite, losses)
    if problems:
        raise suite.origin.error(problems)
    rows = make_rows(losses, suite)
    check_reference(suite, rows)
    compared = compared_rows(suite, rows)
    return Outline(resolved, tuple(losses), rows, compared, tuple(evaluations), metrics)


def missing_data(outline: Outline, data_root: FilePath) -> tuple[str, ...]:
    """What is not in the data root, and how to get it: a message for each data set.

    Raises:
        SuiteError: A data set is unknown.
    """
    suite = outline.suite
    wanted: dict[str, Path] = {suite.dataset.name: ("dataset", "name")}
    for index, evaluation in enumerate(outline.evaluations):
        if evaluation.dataset:
            wanted.setdefault(evaluation.dataset, ("evaluate", index))
    messages = []
    for name, path in wanted.items():
        try:
            messages.append(explain_missing(name, data_root))
        except UnknownNameError as error:
            raise suite.origin.error([Problem(path, str(error))]) from None
    return tuple(dict.fromkeys(filter(None, messages)))


def plan_without_data(outline: Outline, missing: tuple[str, ...]) -> Plan:
    """The table of a suite whose data are missing; its trials have no identity.

    Raises:
        SuiteError: Something is wrong that shows without the data, too.
    """
    suite = outline.suite
    problems = variant_problems(suite) + team_problems(suite)
    problems += scale_problems(suite.recipe.input, None)
    optimizer = suite.recipe.optimizer
    try:
        OPTIMIZERS[optimizer.name].create(**optimizer.params)
    except ParameterError as error:
        problems += [Problem(("recipe", "optimizer", *p.path), p.message) for p in error.problems]
    for loss in (row.loss for row in outline.rows):
        try:
            LOSSES[loss.name].create(ANY_CLASSES, ANY_DIMENSION, **loss.params)
        except ParameterError as error:
            problems += [Problem(("losses", loss.name, *p.path), p.message) for p in error.problems]
        except Exception:  # it may take other sizes, and a loss of one's own raises what it likes
            continue
    if problems:
        raise suite.origin.error(dict.fromkeys(problems))
    return Plan(
        suite=suite,
        rows=outline.rows,
        data_digest="",
        metrics=outline.metrics,
        compared=outline.compared,
        losses=outline.losses,
        missing=missing,
    )
