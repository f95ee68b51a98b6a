"""Complete check of a suite before anything is trained, and its plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lossbench.assembly.checks_with_data import check_evaluations, input_problems, size_problems
from lossbench.assembly.checks_without_data import (
    optimizer_problems,
    variant_problems,
    worker_problems,
)
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
from lossbench.errors import ParameterError, Problem, ProblemCollector, UnknownNameError
from lossbench.evaluation import Evaluation
from lossbench.losses import LOSSES
from lossbench.planning.plan import Plan
from lossbench.planning.planned_column import PlannedColumn
from lossbench.planning.trial import VALIDATION_SET, PlannedEvaluation
from lossbench.planning.tuning import tuned_batch_sizes
from lossbench.records import Artifact
from lossbench.suite.columns import column_dataset, column_settings, setting_location
from lossbench.suite.origin import SuiteError
from lossbench.suite.schema import DatasetChoice, Suite


def check(suite: Suite, data_root: Path) -> Plan:
    """Check a suite completely and return its plan.

    Names are looked up, parameters are checked and completed by their defaults, the data are read
    and compared with their digests, and two images go through each variant's model and each row.

    Raises:
        SuiteError: The suite has problems; the error has all of them.
        DataError, UnknownNameError: A data set cannot be used.
    """
    resolved = resolve_suite(suite)
    planned_suite, datasets = _open_all(resolved.suite, data_root)
    columns: dict[str, PlannedColumn] = {}
    collector = ProblemCollector()
    for variant, dataset in datasets.items():
        columns[variant] = _planned_column(
            planned_suite, variant, dataset, resolved.evaluations[variant], data_root, collector
        )
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
        sources={key: entry.code_digest for key, entry in plugins.items()},
        file_digests={key: entry.file_digest for key, entry in plugins.items()},
    )
    collector.extend(variant_problems(planned_suite))
    blocking: list[Problem] = []
    for variant, dataset in datasets.items():
        blocking += [
            *input_problems(planned_suite, variant, dataset),
            *size_problems(planned_suite, variant, dataset, columns[variant].holdout),
            *worker_problems(planned_suite, variant),
            *optimizer_problems(planned_suite, variant),
        ]
    collector.extend(blocking)
    if blocking:  # the dry run would fail for the same reason
        suite.origin.raise_if_any(collector)
    tried = dry_run(plan, datasets, collector)
    suite.origin.raise_if_any(collector)
    return replace(
        plan,
        head_requirements=tried.requirements,
        dry_run_head=tried.head,
        columns={
            variant: replace(
                column,
                weights_digest=tried.weights.get(variant, ""),
                facts=data_facts(
                    _with_validation_notes(datasets[variant], column.evaluations),
                    plan.settings[variant].dataset,
                    plan.settings[variant].recipe,
                    holdout=column.holdout,
                    holdout_labels=planned_suite.selection.holdout_labels
                    if planned_suite.selection
                    else "noisy",
                    workers=planned_suite.resources.workers,
                    batch_sizes=tuned_batch_sizes(planned_suite),
                ),
            )
            for variant, column in columns.items()
        },
    )


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
    view = view_of(settings.recipe)
    digests = check_evaluations(suite, variant, evaluations, dataset, data_root, collector)
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
        holdout=holdout_of(suite, dataset),
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

    Raises:
        SuiteError: A data set is unknown, or does not have a chosen class.
    """
    base, variants, datasets = suite.dataset, {}, {}
    for name, variant in suite.variants.items():
        choice, datasets[name] = _open(suite, name, data_root)
        if variant.dataset:
            content = choice.model_dump(mode="json")
            own = {key: content.get(key) for key in variant.dataset}
            variant = variant.model_copy(update={"dataset": own})
        else:
            base = choice
        variants[name] = variant
    return suite.model_copy(update={"dataset": base, "variants": variants}), datasets


def _open(suite: Suite, variant: str, data_root: Path) -> tuple[DatasetChoice, Dataset]:
    """The choice of data with class numbers and the full path of a folder, and the data set."""
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
    except ValueError as reason:
        raise error("classes", reason) from None
    folder = find_folder(written.name, data_root)
    if folder is not None and choice.name != folder.name:  # workers have another folder
        choice = choice.model_copy(update={"name": str(folder.resolve())})
    return choice, dataset
