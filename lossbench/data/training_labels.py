"""The training images that a suite's label noise and imbalance leave, and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lossbench.data.dataset import Dataset
from lossbench.data.imbalance import SHARES, draw_per_class, imbalanced_sizes
from lossbench.data.label_files import LabelKeyError, find_label_file, read_label_file
from lossbench.data.label_noise import asymmetric_noise, symmetric_noise
from lossbench.data.sampling import Indices
from lossbench.errors import DataError, Loc, ParameterError, Problem
from lossbench.suite.data_conditions import Imbalance, LabelNoise
from lossbench.suite.schema import DatasetChoice


@dataclass(frozen=True)
class TrainingLabels:
    """Images of the training set that are used, and their labels.

    Attributes:
        true: Labels (N,) of the data set.
        observed: Labels (N,) that training sees; those of unused images are meaningless.
        kept: Indices of the used images, in ascending order; None for all.
    """

    true: Indices
    observed: Indices
    kept: Indices | None

    @property
    def used(self) -> Indices:
        """Observed labels of the used images."""
        return self.observed if self.kept is None else self.observed[self.kept]

    def indices(self, chosen: Indices | None) -> Indices | None:
        """Indices in the whole training set of some of the used images; None for all images."""
        if self.kept is None or chosen is None:
            return self.kept if chosen is None else chosen
        return self.kept[chosen]


def training_labels(dataset: Dataset, choice: DatasetChoice) -> TrainingLabels:
    """Choose the training images by `per_class` and `imbalance`, then make labels wrong.

    The images are chosen by their true labels, because papers that combine imbalance and label
    noise apply the imbalance first.

    Args:
        dataset: Data set, restricted to the chosen classes.
        choice: `dataset` of a suite or column, as `with_resolved_conditions` returns it.

    Raises:
        ParameterError: A condition is impossible with the data.
        DataError: A file of labels is missing or has other labels than were planned.
    """
    true = dataset.splits["train"].labels
    kept = kept_images(true, dataset.card.class_names, choice)
    if choice.label_noise is None:
        return TrainingLabels(true, true, kept)
    used = slice(None) if kept is None else kept
    observed = true.copy()
    observed[used] = _noisy(dataset, choice.label_noise, true[used], kept)
    return TrainingLabels(true, observed, kept)


def kept_images(labels: Indices, names: Sequence[str], choice: DatasetChoice) -> Indices | None:
    """Indices of the images that `per_class` and `imbalance` keep; None for all.

    Raises:
        ParameterError: A class has too few images.
    """
    kept: Indices | None = None
    counts = np.bincount(labels, minlength=len(names))
    if choice.per_class is not None:
        if (counts < choice.per_class).any():
            k = int(counts.argmin())
            raise refused(
                ("per_class",),
                f"{choice.per_class:,} are more than the {counts[k]:,} training images of class "
                f"{names[k]}",
            )
        kept = draw_per_class(labels, np.full(len(names), choice.per_class), seed=0)
    if choice.imbalance is not None:
        own = labels if kept is None else labels[kept]
        drawn = _imbalanced(own, names, choice.imbalance)
        kept = drawn if kept is None else kept[drawn]
    return kept


def _imbalanced(labels: Indices, names: Sequence[str], imbalance: Imbalance) -> Indices:
    kind = "long_tail" if imbalance.long_tail is not None else "step"
    ratio = getattr(imbalance, kind)
    available = np.bincount(labels, minlength=len(names))
    sizes = imbalanced_sizes(available, SHARES[kind](len(names), ratio))
    if not sizes.all():
        k = int(sizes.argmin())
        raise refused(
            ("imbalance", kind),
            f"{ratio:g} leaves 0 of the {available[k]:,} training images of class {names[k]}, with "
            f"{sizes.max():,} of the largest class; choose a smaller ratio",
        )
    return draw_per_class(labels, sizes, imbalance.seed)


def _noisy(dataset: Dataset, noise: LabelNoise, labels: Indices, kept: Indices | None) -> Indices:
    """Observed labels of the kept images."""
    if noise.symmetric is not None:
        return symmetric_noise(labels, dataset.card.num_classes, noise.symmetric, noise.seed)
    if noise.asymmetric is not None:
        assert isinstance(noise.asymmetric.map, list), "the map is not resolved"
        targets = np.array(noise.asymmetric.map)
        return asymmetric_noise(labels, targets, noise.asymmetric.rate, noise.seed)
    try:
        labels_of_file, digest = read_labels(dataset, noise)
    except ParameterError as error:  # the file was valid when the suite was planned
        raise DataError(error.problems[0].message) from None
    if digest != noise.digest:
        raise DataError(
            f"label file {noise.file}: its labels have digest {digest}, but the suite was planned "
            f"with {noise.digest}"
        )
    return labels_of_file if kept is None else labels_of_file[kept]


def read_labels(dataset: Dataset, noise: LabelNoise) -> tuple[Indices, str]:
    """Labels of a file for all training images, and their digest.

    Raises:
        ParameterError: The file is missing or is no file of labels of these images.
    """
    assert noise.file is not None
    true, loc = dataset.splits["train"].labels, ("label_noise", "from")
    try:
        path = find_label_file(noise.file, dataset.data_root)
        found = read_label_file(path, noise.key, dataset.card.class_names)
    except LabelKeyError as error:
        raise refused(("label_noise", "key"), str(error)) from None
    except (ValueError, OSError) as error:
        raise refused(loc, str(error)) from None
    if len(found.labels) != len(true):
        raise refused(
            loc,
            f"{path} has {len(found.labels):,} labels, but {dataset.card.name} has {len(true):,} "
            "training images",
        )
    if found.clean is not None and not np.array_equal(found.clean, true):
        differing = int((found.clean != true).sum()) if len(found.clean) == len(true) else len(true)
        raise refused(
            loc,
            f"{path}: its clean_label differs from the labels of {dataset.card.name} for "
            f"{differing:,} of {len(true):,} images, so its labels are of other images or in "
            "another order",
        )
    return found.labels, found.digest


def refused(loc: Loc, message: str) -> ParameterError:
    """Error with one problem; the location is relative to `dataset`."""
    return ParameterError("dataset", [Problem(loc, message)])
