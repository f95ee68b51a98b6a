"""Complete check of a suite before anything is trained, and its plan."""

from __future__ import annotations

from collections.abc import Sequence
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
    may_select_on_validation,
    open_dataset,
    resolve_choice,
    resolve_holdout,
)
from lossbench.errors import ParameterError, Problem, ProblemCollector, UnknownNameError
from lossbench.evaluation import Evaluation
from lossbench.losses import LOSSES
from lossbench.planning.plan import Plan
from lossbench.planning.trial import VALIDATION_SET, PlannedEvaluation
from lossbench.suite.schema import DatasetChoice, Suite


def check(suite: Suite, data_root: Path) -> Plan:
    """Check a suite completely and return its plan.

    Names are looked up, parameters are checked and completed by their defaults, the data are read
    and compared with their digests, and two images go through each variant's model and each row.

    Raises:
        SuiteError: The suite has problems; the error has all of them.
        DataError, UnknownNameError: The data set cannot be used.
    """
    resolved = resolve_suite(suite)
    choice, dataset = _open(suite, data_root)
    planned_suite = resolve_holdout(resolved.suite.model_copy(update={"dataset": choice}), dataset)
    evaluations, collector = resolved.evaluations, ProblemCollector()
    other_digests = check_evaluations(planned_suite, evaluations, dataset, data_root, collector)
    suite.origin.raise_if_any(collector)
    if any(VALIDATION_SET in digests for digests in other_digests):
        dataset = replace(
            dataset, notes=_notes_with_validation(dataset, planned_suite, evaluations)
        )
    view = view_of(suite.recipe)
    other_images = [evaluation.other_images(dataset, view, data_root) for evaluation in evaluations]
    plugins = plugin_entries()
    plan = Plan(
        suite=planned_suite,
        rows=resolved.rows,
        data_digest=dataset.digest,
        metrics=resolved.metrics,
        artifacts=tuple(a for evaluation in evaluations for a in evaluation.artifacts()),
        evaluations=tuple(
            PlannedEvaluation(
                name=chosen.name,
                params=chosen.params,
                other_digests=digests,
                source=entry.code_digest
                if (entry := plugins.get(f"evaluation {chosen.name}"))
                else "",
                metrics=tuple(metric.name for metric in evaluation.metrics()),
                rounding_changed=images is not None and rounding_changed(*images),
            )
            for chosen, evaluation, digests, images in zip(
                planned_suite.evaluate, evaluations, other_digests, other_images, strict=True
            )
        ),
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
        validation_digest=dataset.validation_digest,
    )
    collector.extend(variant_problems(planned_suite))
    blocking = [
        *input_problems(planned_suite, dataset),
        *size_problems(planned_suite, dataset),
        *worker_problems(planned_suite),
        *optimizer_problems(planned_suite),
    ]
    collector.extend(blocking)
    if blocking:  # the dry run would fail for the same reason
        suite.origin.raise_if_any(collector)
    tried = dry_run(plan, dataset, collector)
    suite.origin.raise_if_any(collector)
    return replace(
        plan,
        head_requirements=tried.requirements,
        dry_run_head=tried.head,
        weights=tried.weights,
        facts=data_facts(dataset, planned_suite),
    )


def _notes_with_validation(
    dataset: Dataset, suite: Suite, evaluations: Sequence[Evaluation]
) -> tuple[str, ...]:
    """Notes of a data set whose validation set is read by evaluations, not by `selection`."""
    pairs = zip(suite.evaluate, evaluations, strict=True)
    names = dict.fromkeys(chosen.name for chosen, found in pairs if found.needs_validation)
    used = f"is only used by {', '.join(names)}"
    return tuple(note.replace(UNUSED, used) for note in dataset.notes)


def _open(suite: Suite, data_root: Path) -> tuple[DatasetChoice, Dataset]:
    """The choice of data with class numbers and the full path of a folder, and the data set."""
    try:
        choice = resolve_choice(suite.dataset, data_root)
        validation = may_select_on_validation(suite.selection)
        dataset = open_dataset(choice, data_root, validation=validation)
    except UnknownNameError as error:
        raise suite.origin.error([Problem(("dataset", "name"), str(error))]) from None
    except ParameterError as error:
        problems = [problem.under(("dataset",)) for problem in error.problems]
        raise suite.origin.error(problems) from None
    except ValueError as error:
        raise suite.origin.error([Problem(("dataset", "classes"), str(error))]) from None
    folder = find_folder(suite.dataset.name, data_root)
    if folder is not None and choice.name != folder.name:  # workers have another folder
        choice = choice.model_copy(update={"name": str(folder.resolve())})
    return choice, dataset
