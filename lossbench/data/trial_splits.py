"""The training images and the measured images of a trial."""

from __future__ import annotations

from lossbench.data.dataset import Dataset, Split
from lossbench.data.sampling import Indices, split_off, stratified_subset
from lossbench.data.training_labels import training_labels
from lossbench.suite.schema import DatasetChoice, Holdout, HoldoutLabels


def choose_splits(
    dataset: Dataset,
    choice: DatasetChoice,
    holdout: Holdout,
    holdout_labels: HoldoutLabels = "noisy",
) -> dict[str, Split]:
    """Training images, `train`, and images to measure on, `measured`, if there are any.

    In this order: `per_class`, `imbalance`, `label_noise`, `train_size`, held-out part. The last
    two are stratified by the noisy labels, so that a data set with these labels gives the same.

    Args:
        dataset: Data set of the suite.
        choice: Sizes of the subsets, and conditions of the training set, resolved.
        holdout: Share of the training images to hold out and measure on, in [0, 1), 0 for none;
            or `validation`, to measure on the validation set.
        holdout_labels: Labels of held-out images: `noisy` as in training, or `clean`, the true
            ones.

    Raises:
        ValueError: There are too few images.
        DataError: A file of labels has changed.
    """
    parts = choose_indices(dataset, choice, holdout, holdout_labels)
    return {
        name: split if indices is None else split.subset(indices)
        for name, (split, indices) in parts.items()
    }


def choose_indices(
    dataset: Dataset,
    choice: DatasetChoice,
    holdout: Holdout,
    holdout_labels: HoldoutLabels = "noisy",
) -> dict[str, tuple[Split, Indices | None]]:
    """Source split and indices for each split of `choose_splits`; None for all indices.

    Raises:
        ValueError: There are too few images.
        DataError: A file of labels has changed.
    """
    labels = training_labels(dataset, choice)
    clean = dataset.splits["train"]
    train = clean if choice.label_noise is None else clean.relabelled(labels.observed)
    chosen = labels.indices(_subset(labels.used, choice.train_size))
    if not holdout:
        parts: dict[str, tuple[Split, Indices | None]] = {"train": (train, chosen)}
        if (test := dataset.splits.get("test")) is not None:
            parts["measured"] = (test, _subset(test.labels, choice.test_size))
        return parts
    if holdout == "validation":
        return {"train": (train, chosen), "measured": (dataset.splits["validation"], None)}
    stratified = train.labels if chosen is None else train.labels[chosen]
    rest, off = split_off(stratified, holdout, dataset.card.class_names)
    if chosen is not None:
        rest, off = chosen[rest], chosen[off]
    measured = clean if holdout_labels == "clean" else train
    return {"train": (train, rest), "measured": (measured, off)}


def _subset(labels: Indices, size: int | None) -> Indices | None:
    return None if size is None else stratified_subset(labels, size)


def drawn_labels(dataset: Dataset, choice: DatasetChoice) -> dict[str, tuple[Indices, int | None]]:
    """Labels of the images that `train_size` and `test_size` draw from, and the size, by split.

    Raises:
        DataError: A file of labels has changed.
    """
    found = {"train": (training_labels(dataset, choice).used, choice.train_size)}
    if (test := dataset.splits.get("test")) is not None:
        found["test"] = (test.labels, choice.test_size)
    return found
