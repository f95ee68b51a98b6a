"""The training images and the measured images of a trial."""

from __future__ import annotations

from lossbench.data.dataset import Dataset, Split
from lossbench.data.sampling import Indices, split_off, stratified_subset
from lossbench.suite.schema import DatasetChoice, Holdout


def choose_splits(dataset: Dataset, choice: DatasetChoice, holdout: Holdout) -> dict[str, Split]:
    """Training images, `train`, and images to measure on, `measured`, if there are any.

    Args:
        dataset: Data set of the suite.
        choice: Sizes of the subsets.
        holdout: Share of the training images to hold out and measure on, in [0, 1), 0 for none;
            or `validation`, to measure on the validation set.

    Raises:
        ValueError: There are too few images.
    """
    return {
        name: split if indices is None else split.subset(indices)
        for name, (split, indices) in choose_indices(dataset, choice, holdout).items()
    }


def choose_indices(
    dataset: Dataset, choice: DatasetChoice, holdout: Holdout
) -> dict[str, tuple[Split, Indices | None]]:
    """Source split and indices for each split of `choose_splits`; None for all indices.

    Raises:
        ValueError: There are too few images.
    """
    names = dataset.card.class_names
    parts: dict[str, tuple[Split, Indices | None]] = {}
    for name, size in split_sizes(choice).items():
        if name in dataset.splits:
            split = dataset.splits[name]
            chosen = None if size is None else stratified_subset(split.labels, size)
            parts[name] = (split, chosen)
    train, chosen = parts["train"]
    if not holdout:
        measured = {"measured": parts["test"]} if "test" in parts else {}
        return {"train": parts["train"], **measured}
    if holdout == "validation":
        return {"train": parts["train"], "measured": (dataset.splits["validation"], None)}
    labels = train.labels if chosen is None else train.labels[chosen]
    rest, off = split_off(labels, holdout, names)
    if chosen is not None:
        rest, off = chosen[rest], chosen[off]
    return {"train": (train, rest), "measured": (train, off)}


def split_sizes(choice: DatasetChoice) -> dict[str, int | None]:
    """Number of images to use of each split; None for all."""
    return {"train": choice.train_size, "test": choice.test_size}
