"""Opening of the data set of a suite, and of one of its trials."""

from __future__ import annotations

import platform
from pathlib import Path

from lossbench.data.dataset import Dataset
from lossbench.data.encoded_images import EncodedImages
from lossbench.data.image_files import ImageFileSplit
from lossbench.data.loading import close_datasets, load_dataset
from lossbench.data.resolved_conditions import with_resolved_conditions
from lossbench.errors import DataError, Problem
from lossbench.planning.trial import VALIDATION_SET, Trial
from lossbench.suite.schema import CONDITIONS, DatasetChoice, Holdout, Selection, Suite


def open_dataset(
    choice: DatasetChoice, data_root: Path, *, verify: bool = True, validation: bool = False
) -> Dataset:
    """Open the data set of a suite, restricted to the classes that the suite chooses.

    Args:
        choice: `dataset` of the suite.
        data_root: Folder of the prepared data sets.
        verify: Whether the content is checked.
        validation: Whether to read the validation set, too, if there is one next to a test set.

    Raises:
        ValueError: A chosen class does not exist.
        DataError, UnknownNameError: The data set cannot be opened.
    """
    dataset = load_dataset(
        choice.name,
        data_root,
        verify=verify,
        validation=validation,
        missing_test_classes=choice.missing_test_classes == "allow",
    )
    if choice.classes is None:
        return dataset
    return dataset.restricted(dataset.class_numbers(choice.classes))


def resolve_choice(choice: DatasetChoice, data_root: Path) -> DatasetChoice:
    """Choice with classes given by number and with its conditions checked and resolved.

    Names of classes and files of labels are not part of a trial's identity.

    Args:
        choice: `dataset` of the suite.
        data_root: Folder of the prepared data sets.

    Raises:
        ValueError: A class does not exist, or is ambiguous.
        ParameterError: A condition of the training set is wrong or impossible; the locations of
            its problems are relative to `dataset`.
        DataError, UnknownNameError: The data set cannot be opened.
    """
    if choice.classes is not None:
        dataset = open_dataset(choice.model_copy(update={"classes": None}), data_root)
        dataset.require_clear_numbers(choice.classes)
        numbers = dataset.class_numbers(choice.classes)
        choice = choice.model_copy(update={"classes": numbers})
    if all(getattr(choice, key) is None for key in CONDITIONS):
        return choice
    return with_resolved_conditions(choice, open_dataset(choice, data_root))


def open_trial_data(trial: Trial, data_root: Path) -> Dataset:
    """Open the data set of a trial, without checking its content again.

    Args:
        trial: Trial to run.
        data_root: Folder of the prepared data sets.

    Raises:
        DataError: It is not the data set of the plan, or cannot be opened.
    """
    dataset = open_dataset(
        trial.dataset,
        data_root,
        verify=False,
        validation=trial.on_validation_set or trial.reads_validation_set,
    )
    where = f"{trial.dataset.name!r} in {data_root} on {platform.node()}"
    digest = dataset.validation_digest if trial.on_validation_set else dataset.digest
    if digest != trial.data_digest:
        raise DataError(
            f"data set {where} has digest {digest}, but the suite was planned with "
            f"{trial.data_digest}"
        )
    planned = trial.other_digests.get(VALIDATION_SET, dataset.validation_digest)
    if dataset.validation_digest != planned:
        raise DataError(
            f"data set {where}: with its validation set it has digest "
            f"{dataset.validation_digest or 'none'}, but the suite was planned with {planned}"
        )
    return dataset


def require_unchanged(trial: Trial, data_root: Path, dataset: Dataset) -> None:
    """Refuse a training if its image files changed in the meantime.

    Only image files are read during the training; arrays and tables stay open.

    Args:
        trial: Trial that was trained.
        data_root: Folder of the prepared data sets.
        dataset: Data set that it was trained on.

    Raises:
        DataError: The data set is no longer that of the plan.
    """
    train = dataset.splits["train"]
    if not isinstance(train, ImageFileSplit) or isinstance(train.paths, EncodedImages):
        return
    close_datasets()
    try:
        open_trial_data(trial, data_root)
    except DataError as error:
        raise DataError(
            f"{error}; its files were changed while a trial was trained, so the result was "
            "discarded; start again"
        ) from None


def may_select_on_validation(selection: Selection | None) -> bool:
    """Whether `selection` may use the data set's own validation set."""
    if selection is None:
        return False
    return selection.holdout == "validation" or "holdout" not in selection.model_fields_set


def holdout_of(suite: Suite, dataset: Dataset) -> Holdout:
    """Held-out part of a column: `validation` if the validation set is used; 0 for none.

    Args:
        suite: Suite as written.
        dataset: Data set of the column, with the validation set if `selection` may use it.

    Raises:
        SuiteError: `selection.holdout` is `validation`, but there is no validation set; or its
            labels should be noisy.
    """
    if suite.selection is None:
        return 0.0
    if "validation" in dataset.splits:
        given = suite.selection.model_fields_set
        if "holdout_labels" in given and suite.selection.holdout_labels == "noisy":
            message = (
                "the validation set keeps its labels; remove holdout_labels, or give "
                "selection.holdout the share of the training set to hold out, such as 0.2"
            )
            raise suite.origin.error([Problem(("selection", "holdout_labels"), message)])
        return "validation"
    if suite.selection.holdout == "validation":
        message = (
            f"{dataset.card.name} has no validation set next to a test set; give the share of the "
            "training set to hold out, such as 0.2"
        )
        raise suite.origin.error([Problem(("selection", "holdout"), message)])
    return suite.selection.holdout
