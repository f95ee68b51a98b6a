"""Checks of a suite against its data set: input, sizes, held-out part, evaluations."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lossbench.assembly.checks_without_data import pixel_range_problems
from lossbench.data.dataset import Dataset
from lossbench.data.facts import pixel_statistics, view_of
from lossbench.data.images import View
from lossbench.data.sampling import stratified_subset
from lossbench.data.suite_data import open_dataset
from lossbench.data.trial_splits import choose_splits, drawn_labels
from lossbench.errors import (
    DataError,
    Loc,
    Problem,
    ProblemCollector,
    UnknownNameError,
    format_exception,
)
from lossbench.evaluation import EVALUATIONS, Evaluation
from lossbench.models.vectors import VECTOR_MODELS
from lossbench.planning.trial import VALIDATION_SET
from lossbench.suite.columns import (
    column_dataset,
    column_recipe,
    column_settings,
    setting_location,
)
from lossbench.suite.schema import DatasetChoice, Holdout, Input, Suite


def check_evaluations(
    suite: Suite,
    variant: str,
    evaluations: Sequence[Evaluation],
    dataset: Dataset,
    holdout: Holdout,
    data_root: Path,
    collector: ProblemCollector,
) -> list[dict[str, str]]:
    """Check whether each evaluation of a column is possible with its data.

    Args:
        suite: The suite.
        variant: Name of the column.
        evaluations: Its evaluations.
        dataset: Its data set.
        holdout: Its held-out part.
        data_root: Folder of the prepared data sets.
        collector: Collector of the problems.

    Returns:
        Digests of the other data that each evaluation reads, by the name in the suite; that of the
        data set's own validation set has the key `VALIDATION_SET`.
    """
    settings = column_settings(suite, variant)
    where = setting_location(suite, variant, ("evaluate",))
    digests: list[dict[str, str]] = []
    without_test: list[int] = []
    for index, evaluation in enumerate(evaluations):
        name, loc = settings.evaluate[index].name, (*where, index)
        digests.append({})
        if evaluation.needs_images and dataset.vectors:
            message = f"is measured on images, and {dataset.card.name} has vectors"
            collector.add(loc, f"{name} {message}")
        elif evaluation.needs_test and "test" not in dataset.splits:
            without_test.append(index)
        else:
            try:
                digests[-1] = _digests(evaluation, dataset, view_of(settings.recipe), data_root)
                if evaluation.needs_validation:
                    digest = unmeasured_validation_digest(settings.dataset, holdout, data_root)
                    digests[-1] = {**digests[-1], VALIDATION_SET: digest}
            except (ValueError, UnknownNameError, DataError) as error:
                collector.add(loc, f"{name}: {error}")
            except Exception as error:
                if not EVALUATIONS[name].external:
                    raise
                collector.add(loc, f"{name}: cannot be used: {format_exception(error)}")
    if without_test:
        names = ", ".join(settings.evaluate[index].name for index in without_test)
        verb = "needs" if len(without_test) == 1 else "need"
        message = f"{names} {verb} a test set, and {dataset.card.name} has none"
        message += f": {dataset.no_test}" if dataset.no_test else ""
        collector.add((*where, without_test[0]), message)
    return digests


def _digests(
    evaluation: Evaluation, dataset: Dataset, view: View, data_root: Path
) -> dict[str, str]:
    """Digests of other data; a user's evaluation may return anything.

    Raises:
        ValueError: It returns something else.
    """
    found: Any = evaluation.check(dataset, view, data_root)
    evaluation.other_images(dataset, view, data_root)
    if isinstance(found, dict) and all(isinstance(x, str) for item in found.items() for x in item):
        return found
    raise ValueError("check() should return the digests of other data by their names, or {}")


def unmeasured_validation_digest(choice: DatasetChoice, holdout: Holdout, data_root: Path) -> str:
    """Digest of the data set with its validation set, for evaluations that fit something on it.

    Args:
        choice: Data set of the column.
        holdout: Held-out part of the column.
        data_root: Folder of the prepared data sets.

    Raises:
        ValueError: There is no validation set, or `selection` measures on it.
        DataError: The validation set cannot be used.
    """
    dataset = open_dataset(choice, data_root, validation=True)
    if "validation" not in dataset.splits:
        raise ValueError(
            f"requires a validation set next to the test set, and {dataset.card.name} has none"
        )
    if holdout == "validation":
        raise ValueError(
            "requires a validation set that is not measured, but `selection` measures on it; give "
            "selection.holdout the share of the training set to hold out, such as 0.2"
        )
    return dataset.validation_digest


def input_problems(suite: Suite, variant: str, dataset: Dataset) -> list[Problem]:
    """Problems of a column's input with its images or vectors."""
    if dataset.vectors and (problems := vector_problems(suite, variant, dataset.card.name)):
        return problems
    recipe = column_recipe(suite, variant)
    where = setting_location(suite, variant, ("recipe", "input"))
    view = view_of(recipe)
    try:
        channels = dataset.image_shape(view)[0]
    except ValueError as error:
        return [Problem(where, str(error))]
    problems = channel_count_problems(recipe.input, where, channels)
    if dataset.vectors or problems:
        return problems
    pixels = functools.cache(lambda: pixel_statistics(dataset, view))
    return pixel_range_problems(recipe.input, where, pixels)


def vector_problems(suite: Suite, variant: str, data: str) -> list[Problem]:
    """Problems of settings for images if the samples are vectors."""
    reason = f"{data} has vectors, not images"
    settings = column_settings(suite, variant)
    problems = []
    if settings.recipe.input != Input():
        where = setting_location(suite, variant, ("recipe", "input"))
        problems.append(Problem(where, f"{reason}: vectors are used unchanged"))
    if settings.augment:
        where = setting_location(suite, variant, ("augment",))
        problems.append(Problem(where, f"{reason}; remove the augmentations"))
    if (model := settings.model.name) not in VECTOR_MODELS:
        message = f"{reason}, which {model} does not accept; use {' or '.join(VECTOR_MODELS)}"
        problems.append(Problem(setting_location(suite, variant, ("model",)), message))
    return problems


def channel_count_problems(scaling: Input, where: Loc, channels: int) -> list[Problem]:
    """Problems of a mean or std that has neither one value nor one per channel.

    Args:
        scaling: Input of a recipe.
        where: Location of the input.
        channels: Number of channels of the images.
    """
    values = {"mean": scaling.mean, "std": scaling.std}
    return [
        Problem((*where, name), f"{len(value)} numbers, but images have {channels} channels")
        for name, value in values.items()
        if isinstance(value, list) and len(value) not in (1, channels)
    ]


def size_problems(suite: Suite, variant: str, dataset: Dataset, holdout: Holdout) -> list[Problem]:
    """Problems of a column's sizes that exceed the data set or leave too few images to hold out.

    Args:
        suite: The suite.
        variant: Name of the column.
        dataset: Its data set.
        holdout: Its held-out part.
    """
    problems = []
    choice = column_dataset(suite, variant)
    for key in ("train_size", "test_size"):
        size, name = getattr(choice, key), key.removesuffix("_size")
        if size is None:
            continue
        where = setting_location(suite, variant, ("dataset", key))
        if name not in dataset.splits:
            message = f"{dataset.card.name} has no {name} set"
            message += f": {dataset.no_test}" if dataset.no_test else ""
            problems.append(Problem(where, message))
            continue
        labels, _ = drawn_labels(dataset, choice)[name]
        try:
            stratified_subset(labels, size)
        except ValueError as error:
            problems.append(Problem(where, str(error)))
    if suite.selection and not problems:
        try:
            choose_splits(dataset, choice, holdout)
        except ValueError as error:
            where = setting_location(suite, variant, ("dataset", "train_size"))
            problems.append(
                _too_small(choice, where, dataset)
                or Problem(("selection", "holdout"), str(error).partition("\n")[0])
            )
    return problems


def _too_small(choice: DatasetChoice, where: Loc, dataset: Dataset) -> Problem | None:
    """Problem of a `train_size` that leaves only one image of a class with more; else None."""
    if choice.train_size is None:
        return None
    labels, _ = drawn_labels(dataset, choice)["train"]
    drawn = labels[stratified_subset(labels, choice.train_size)]
    for number, name in enumerate(dataset.card.class_names):
        available = int((labels == number).sum())
        if available > 1 and (drawn == number).sum() == 1:
            message = (
                f"{choice.train_size} leaves 1 of the {available} images of class {name}, and "
                "selection.holdout needs 2; choose a larger size"
            )
            return Problem(where, message)
    return None
