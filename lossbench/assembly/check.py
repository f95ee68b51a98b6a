"""Complete check of a suite before anything is trained, and its plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lossbench.assembly.checks_with_data import check_evaluations, input_problems, size_problems
from lossbench.assembly.checks_without_data import (
    recipe_problems,
    variant_problems,
    worker_problems,
)
from lossbench.assembly.components import omitted_defaults
from lossbench.assembly.dry_run import dry_run
from lossbench.assembly.registries import plugin_entries
from lossbench.assembly.resolved_suite import resolve_suite
from lossbench.assembly.tuning import tuned_limits
from lossbench.data.dataset import Dataset
from lossbench.data.facts import data_facts, rounding_changed, view_of
from lossbench.data.loading import find_folder
from lossbench.data.split_names import UNUSED
from lossbench.data.suite_data import (
    holdout_of,
    may_select_on_validation,
    open_dataset,
    resolve_choice,
)
from lossbench.errors import (
    DataError,
    MissingDataError,
    ParameterError,
    Problem,
    ProblemCollector,
    UnknownNameError,
)
from lossbench.evaluation import Evaluation
from lossbench.losses import LOSSES
from lossbench.planning.plan import Plan
from lossbench.planning.planned_column import PlannedColumn
from lossbench.planning.revisions import DataFacts
from lossbench.planning.trial import VALIDATION_SET, PlannedEvaluation
from lossbench.planning.tuning import tuned_batch_sizes
from lossbench.records import Artifact
from lossbench.suite.columns import (
    column_dataset,
    column_settings,
    joined_problems,
    setting_location,
)
from lossbench.suite.origin import SuiteError
from lossbench.suite.schema import DatasetChoice, Suite


def check(suite: Suite, data_root: Path) -> Plan:
    """Check a suite completely and return its plan.

    Names are looked up, parameters are checked and completed by their defaults, the data are read
    and compared with their digests, and two images are passed through the model of each column and
    the head of each row.

    Raises:
        SuiteError: The suite has problems; the error has all of them.
        DataError, UnknownNameError: A data set cannot be used.
    """
    resolved = resolve_suite(suite)
    planned_suite, datasets = _open_all(resolved.suite, data_root)
    columns: dict[str, PlannedColumn] = {}
    found: dict[str, ProblemCollector] = {variant: ProblemCollector() for variant in datasets}
    for variant, dataset in datasets.items():
        columns[variant] = _planned_column(
            planned_suite,
            variant,
            dataset,
            resolved.evaluations[variant],
            data_root,
            found[variant],
        )
    collector = _joined(suite, found)
    suite.origin.raise_if_any(collector)
    planned_suite = _with_holdout(planned_suite, columns)
    first, plugins = next(iter(columns.values())), plugin_entries()
    plan = Plan(
        suite=planned_suite,
        rows=resolved.rows,
        table_digest=first.validation_digest or first.data_digest,
        metrics=resolved.metrics,
        artifacts=_artifacts(resolved.evaluations),
        columns=columns,
        compared=resolved.compared,
        losses=resolved.losses,
        limits={
            (row.loss.name, key): LOSSES[row.loss.name].limits(key)
            for row in resolved.rows
            for key in row.loss.params
        }
        | {
            (row.loss.name, key): tuned_limits(key, [planned_suite.recipe])
            for row in resolved.rows
            for key in row.tuned
        },
        notation={row.loss.name: LOSSES[row.loss.name].notation for row in resolved.rows},
        omitted=omitted_defaults(planned_suite),
        sources={key: entry.code_digest for key, entry in plugins.items()},
        file_digests={key: entry.file_digest for key, entry in plugins.items()},
    )
    collector.extend(variant_problems(planned_suite))
    blocking = joined_problems(
        suite,
        {
            variant: [
                *input_problems(planned_suite, variant, dataset),
                *size_problems(planned_suite, variant, dataset, columns[variant].holdout),
                *worker_problems(planned_suite, variant),
                *recipe_problems(planned_suite, variant),
            ]
            for variant, dataset in datasets.items()
        },
    )
    collector.extend(blocking)
    if blocking:  # the dry run would fail for the same reason
        suite.origin.raise_if_any(collector)
    plan = replace(
        plan,
        columns={
            variant: replace(column, facts=_facts(plan, variant, datasets[variant]))
            for variant, column in columns.items()
        },
    )
    tried = dry_run(plan, datasets, collector)
    suite.origin.raise_if_any(collector)
    checked = replace(
        plan,
        head_requirements=tried.requirements,
        dry_run_head=tried.head,
        columns={
            variant: replace(column, weights_digest=tried.weights.get(variant, ""))
            for variant, column in plan.columns.items()
        },
    )
    collector.extend(_repeated_columns(checked))
    suite.origin.raise_if_any(collector)
    return checked


def _facts(plan: Plan, variant: str, dataset: Dataset) -> DataFacts:
    """Facts about the data of a column."""
    suite, column, settings = plan.suite, plan.columns[variant], plan.settings[variant]
    return data_facts(
        _with_validation_notes(dataset, column.evaluations),
        settings.dataset,
        settings.recipe,
        holdout=column.holdout,
        holdout_labels=suite.selection.holdout_labels if suite.selection else "noisy",
        workers=suite.resources.workers,
        batch_sizes=tuned_batch_sizes(suite),
    )


def _joined(suite: Suite, by_column: Mapping[str, ProblemCollector]) -> ProblemCollector:
    collector = ProblemCollector()
    found = {variant: own.problems for variant, own in by_column.items()}
    collector.extend(joined_problems(suite, found))
    return collector


def _repeated_columns(plan: Plan) -> Iterator[Problem]:
    """Problems of columns whose settings differ, but not their trials."""
    first: dict[str, str] = {}
    for name, column in plan.columns.items():
        identity = plan.trial(plan.all_rows[0], name, 0, column.holdout).identity
        same = first.setdefault(identity, name)
        if same != name:
            yield Problem(("variants", name), f"has the same trials as {same}")


def _planned_column(
    suite: Suite,
    variant: str,
    dataset: Dataset,
    evaluations: Sequence[Evaluation],
    data_root: Path,
    collector: ProblemCollector,
) -> PlannedColumn:
    """A column with the digests of its data and its evaluations, without weights and facts."""
    settings, plugins = column_settings(suite, variant), plugin_entries()
    view, holdout = view_of(settings.recipe), holdout_of(suite, dataset)
    digests = check_evaluations(suite, variant, evaluations, dataset, holdout, data_root, collector)
    planned = []
    for chosen, evaluation, others in zip(settings.evaluate, evaluations, digests, strict=True):
        entry = plugins.get(f"evaluation {chosen.name}")
        images = None if collector else evaluation.other_images(dataset, view, data_root)
        planned.append(
            PlannedEvaluation(
                name=chosen.name,
                params=chosen.params,
                other_digests=others,
                source=entry.code_digest if entry else "",
                metrics=tuple(metric.name for metric in evaluation.metrics()),
                rounding_changed=images is not None and rounding_changed(*images),
            )
        )
    return PlannedColumn(
        data_digest=dataset.digest,
        validation_digest=dataset.validation_digest,
        holdout=holdout,
        evaluations=tuple(planned),
    )


def _with_holdout(suite: Suite, columns: Mapping[str, PlannedColumn]) -> Suite:
    """Suite whose `selection.holdout` is the held-out part of its columns, if they agree."""
    parts = {column.holdout for column in columns.values()}
    if suite.selection is None or len(parts) > 1:
        return suite
    selection = suite.selection.model_copy(update={"holdout": parts.pop()})
    return suite.model_copy(update={"selection": selection})


def _artifacts(evaluations: Mapping[str, Sequence[Evaluation]]) -> tuple[Artifact, ...]:
    """The distinct artifacts of all columns."""
    listed = (a for own in evaluations.values() for e in own for a in e.artifacts())
    return tuple(dict.fromkeys(listed))


def _with_validation_notes(dataset: Dataset, evaluations: Sequence[PlannedEvaluation]) -> Dataset:
    """Data set whose notes say so if its validation set is read by evaluations only."""
    names = dict.fromkeys(e.name for e in evaluations if VALIDATION_SET in e.other_digests)
    if not names:
        return dataset
    used = f"is only used by {', '.join(names)}"
    return replace(dataset, notes=tuple(note.replace(UNUSED, used) for note in dataset.notes))


def _open_all(suite: Suite, data_root: Path) -> tuple[Suite, dict[str, Dataset]]:
    """The suite with class numbers and full paths of folders, and the data set of each column.

    Class numbers and the map of label noise depend on the data. If they differ between columns that
    share the key of the suite, they are written into the variants.

    Raises:
        SuiteError: A data set is unknown or damaged, or does not have a chosen class.
    """
    choices, datasets, problems = {}, {}, {}
    for name in suite.variants:
        try:
            choices[name], datasets[name] = _open(suite, name, data_root)
        except SuiteError as error:
            problems[name] = error.problems
    if problems:
        raise suite.origin.error(joined_problems(suite, problems))
    shared: dict[str, Any] = {}
    for name, variant in suite.variants.items():
        for key in DatasetChoice.model_fields.keys() - variant.dataset.keys():
            shared.setdefault(key, getattr(choices[name], key))
    base = suite.dataset.model_copy(update=shared)
    variants = {}
    for name, variant in suite.variants.items():
        content = choices[name].model_dump(mode="json")
        own = {
            key: content.get(key)
            for key in DatasetChoice.model_fields
            if key in variant.dataset or getattr(choices[name], key) != getattr(base, key)
        }
        variants[name] = variant.model_copy(update={"dataset": own})
    return suite.model_copy(update={"dataset": base, "variants": variants}), datasets


def _open(suite: Suite, variant: str, data_root: Path) -> tuple[DatasetChoice, Dataset]:
    """The choice of data with class numbers and the full path of a folder, and the data set.

    Raises:
        SuiteError: The choice is wrong; or, in a suite with several columns, the data are.
        DataError: The data cannot be used.
    """
    written = column_dataset(suite, variant)

    def error(key: str, message: object) -> SuiteError:
        where = setting_location(suite, variant, ("dataset", key))
        return suite.origin.error([Problem(where, str(message))])

    try:
        choice = resolve_choice(written, data_root)
        validation = may_select_on_validation(suite.selection)
        dataset = open_dataset(choice, data_root, validation=validation)
    except UnknownNameError as reason:
        raise error("name", reason) from None
    except ParameterError as reason:
        located = [
            replace(problem, loc=setting_location(suite, variant, ("dataset", *problem.loc)))
            for problem in reason.problems
        ]
        raise suite.origin.error(located) from None
    except MissingDataError:
        raise
    except DataError as reason:
        if not suite.has_variants:
            raise
        raise error("name", reason) from None
    except ValueError as reason:
        raise error("classes", reason) from None
    folder = find_folder(written.name, data_root)
    if folder is not None and choice.name != folder.name:  # workers have another working directory
        choice = choice.model_copy(update={"name": str(folder.resolve())})
    return choice, dataset
