"""The data set of a suite, and that of one of its trials."""

from __future__ import annotations

import platform
from pathlib import Path

from lossbench.data.dataset import Dataset
from lossbench.data.encoded_images import EncodedImages
from lossbench.data.image_files import ImageFileSplit
from lossbench.data.sources import close_datasets, load_dataset
from lossbench.errors import DataError, Problem
from lossbench.planning.trial import Trial
from lossbench.suite.schema import DatasetChoice, Selection, Suite


def open_dataset(
    choice: DatasetChoice, data_root: Path, *, verify: bool = True, validation: bool = False
) -> Dataset:
    """The data set that a suite names, with the classes that it wants.

    Args:
        choice: What the suite names.
        data_root: Where prepared data sets are.
        verify, validation: As for `load_dataset`.

    Raises:
        ValueError: There is no such class.
        DataError, UnknownNameError: It cannot be opened.
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


def with_class_numbers(choice: DatasetChoice, data_root: Path) -> DatasetChoice:
    """The same choice with its classes by number: names are no part of a trial's identity.

    Raises:
        ValueError: There is no such class, or it may be another one.
        DataError, UnknownNameError: The data set cannot be opened.
    """
    if choice.classes is None:
        return choice
    dataset = open_dataset(choice.model_copy(update={"classes": None}), data_root)
    dataset.require_clear_numbers(choice.classes)
    numbers = dataset.class_numbers(choice.classes)
    return choice.model_copy(update={"classes": numbers})


def open_trial_data(trial: Trial, data_root: Path) -> Dataset:
    """The data set of a trial, without another check of its content.

    Raises:
        DataError: It is not the data set that was planned with, or cannot be opened.
    """
    validation = trial.on_validation_set
    dataset = open_dataset(trial.dataset, data_root, verify=False, validation=validation)
    digest = dataset.validation_digest if validation else dataset.digest
    if digest != trial.data_digest:
        raise DataError(
            f"data set {trial.dataset.name!r} in {data_root} on {platform.node()} has digest "
            f"{digest}, but the suite was planned with {trial.data_digest}"
        )
    return dataset


def require_unchanged(trial: Trial, data_root: Path, dataset: Dataset) -> None:
    """Refuse what was trained on image files that were replaced in the meantime.

    Image files are read whenever they are needed; arrays and tables are open all the time.

    Raises:
        DataError: The data set is not that of the plan any more.
    """
    train = dataset.splits["train"]
    if not isinstance(train, ImageFileSplit) or isinstance(train.paths, EncodedImages):
        return
    close_datasets()
    try:
        open_trial_data(trial, data_root)
    except DataError as error:
        raise DataError(
            f"{error}; its files were changed while a trial was trained, whose result is not kept; "
            "start again"
        ) from None


def may_select_on_validation(selection: Selection | None) -> bool:
    """Whether a suite may choose on the data set's own validation set."""
    if selection is None:
        return False
    return selection.holdout == "validation" or "holdout" not in selection.model_fields_set


def resolve_holdout(suite: Suite, dataset: Dataset) -> Suite:
    """The suite, whose `selection` names the validation set if it is to choose on it."""
    if suite.selection is None:
        return suite
    if "validation" in dataset.splits:
        selection = suite.selection.model_copy(update={"holdout": "validation"})
        return suite.model_copy(update={"selection": selection})
    if suite.selection.holdout == "validation":
        message = (
            f"{dataset.card.name} has no validation set next to a test set; give the share of the "
            "training set to hold out, such as 0.2"
        )
        raise suite.origin.error([Problem(("selection", "holdout"), message)])
    return suite
