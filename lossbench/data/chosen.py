"""The images that a suite chooses from a data set, and what its plan needs to know of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from lossbench.data.dataset import Dataset, Split
from lossbench.data.images import Shape, View
from lossbench.data.sampling import (
    Indices,
    loses_class,
    number_of,
    split_off,
    steps_per_epoch,
    stratified_subset,
)
from lossbench.planning.revisions import DataFacts
from lossbench.suite.schema import DatasetChoice, Holdout, Recipe, Suite

LOOKED_AT = 100
"""Images whose pixels are looked at."""
HELD_OUT = "held-out"
KINDS = {"train": "training", "measured": "test"}
"""What messages call the parts of `choose_images`, if nothing is held out."""
Seen = tuple[Shape | None, View]
"""Shape of images, None where they differ in size, and the part of them that a model sees."""


def choose_images(dataset: Dataset, choice: DatasetChoice, holdout: Holdout) -> dict[str, Split]:
    """The images to train on, `train`, and those to measure on, `measured`, if there are any.

    Raises:
        ValueError: There are too few images for what is chosen.
    """
    return {
        name: split if indices is None else split.subset(indices)
        for name, (split, indices) in _chosen(dataset, choice, holdout).items()
    }


def _chosen(
    dataset: Dataset, choice: DatasetChoice, holdout: Holdout
) -> dict[str, tuple[Split, Indices | None]]:
    """The splits of `choose_images`, with the indices of what is chosen; None: all."""
    names = dataset.card.class_names
    parts: dict[str, tuple[Split, Indices | None]] = {}
    for name, size in sizes_of(choice).items():
        if name in dataset.splits:
            split = dataset.splits[name]
            chosen = None if size is None else stratified_subset(split.labels, size, names)
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


def sizes_of(choice: DatasetChoice) -> dict[str, int | None]:
    """How many images of each split are used; None: all."""
    return {"train": choice.train_size, "test": choice.test_size}


def _class_counts(split: Split, indices: Indices | None, classes: int) -> tuple[int, ...]:
    labels = split.labels if indices is None else split.labels[indices]
    return tuple(np.bincount(labels, minlength=classes).tolist())


def _amended_draws(dataset: Dataset, choice: DatasetChoice, holdout: Holdout) -> Iterator[str]:
    """Draws, `train_size`, `test_size` and `holdout`, in which a plain one would lose a class."""
    for name, size in sizes_of(choice).items():
        if size is not None and name in dataset.splits:
            labels = dataset.splits[name].labels
            if loses_class(labels, size, in_rest=False):
                yield f"{name}_size"
    if holdout and holdout != "validation":
        split, indices = _chosen(dataset, choice, 0.0)["train"]
        labels = split.labels if indices is None else split.labels[indices]
        if loses_class(labels, number_of(holdout, len(labels)), in_rest=True):
            yield "holdout"


def data_facts(dataset: Dataset, suite: Suite, others: Iterable[Seen] = ()) -> DataFacts:
    """What a plan needs to know of its data.

    Args:
        dataset: What is trained on.
        suite: Its plan's.
        others: Other images that are measured.
    """
    view = view_of(suite.recipe)
    shape = dataset.splits["train"].shape
    seen = [(split.shape, view) for split in dataset.splits.values()] + list(others)
    margins: set[int] | None = set()
    for own_shape, own_view in seen:
        if own_view.crop is None or margins is None:
            continue
        margins = None if own_shape is None else margins | set(own_view.margins(own_shape))
    holdout: Holdout = suite.selection.holdout if suite.selection else 0.0
    held_out = "validation" if holdout == "validation" else HELD_OUT
    counts: dict[str, tuple[int, ...]] = {}
    trained: dict[Holdout, int] = {}
    shares: set[Holdout] = {0.0, holdout}
    for share in shares:
        chosen = _chosen(dataset, suite.dataset, share)
        for name, part in chosen.items():
            kind = held_out if share and name == "measured" else KINDS[name]
            if kind not in counts or share:
                counts[kind] = _class_counts(*part, dataset.card.num_classes)
        split, indices = chosen["train"]
        trained[share] = len(split.labels if indices is None else indices)
    batch, least = suite.recipe.batch_size, 2 * suite.resources.workers
    return DataFacts(
        image_size=None if shape is None else shape[1:],
        crop_margins=None if margins is None else frozenset(margins),
        train_images=trained[0.0],
        steps={share: steps_per_epoch(n, batch, least) for share, n in trained.items()},
        class_names=tuple(dataset.card.class_names),
        class_counts=counts,
        amended=frozenset(_amended_draws(dataset, suite.dataset, holdout)),
        notes=dataset.notes,
        warnings=dataset.warnings,
    )


def pixel_statistics(dataset: Dataset, view: View) -> tuple[float, float]:
    """Mean and std of the pixels, 0 to 255, of some training images, evenly spread."""
    images = dataset.splits["train"].on(torch.device("cpu"), view)
    chosen = torch.linspace(0, len(images) - 1, min(LOOKED_AT, len(images))).round().long()
    pixels = torch.cat([part.flatten().double() for part in images.central(chosen)])
    return float(pixels.mean()), float(pixels.std())


def view_of(recipe: Recipe) -> View:
    return View(recipe.input.resize, recipe.input.crop)
