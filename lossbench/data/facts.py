"""The facts about its data that a plan needs: sizes, counts, class names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from lossbench.data.dataset import Dataset, Split
from lossbench.data.images import Shape, View
from lossbench.data.resolved_conditions import condition_notes
from lossbench.data.sampling import Indices, count_of_share, draw_loses_class, steps_per_epoch
from lossbench.data.trial_splits import choose_indices, drawn_labels
from lossbench.planning.revisions import DataFacts, rounds_differently
from lossbench.suite.schema import DatasetChoice, Holdout, HoldoutLabels, Recipe

SAMPLED_IMAGES = 100
"""Number of images in the sample for the pixel statistics."""
HELD_OUT = "held-out"
KINDS = {"train": "training", "measured": "test"}
"""Names of the splits of a trial in messages, if nothing is held out."""


def data_facts(
    dataset: Dataset,
    choice: DatasetChoice,
    recipe: Recipe,
    *,
    holdout: Holdout = 0.0,
    holdout_labels: HoldoutLabels = "noisy",
    workers: int = 1,
    batch_sizes: Iterable[int] = (),
) -> DataFacts:
    """Collect the facts about the data of a column that a plan needs.

    Args:
        dataset: Data set of the column.
        choice, recipe: Settings of the column.
        holdout: Held-out part of the column; 0 for none.
        holdout_labels: Labels that the held-out part is evaluated with.
        workers: Number of processes of one training.
        batch_sizes: Batch sizes that may be used instead of the recipe's.
    """
    view = view_of(recipe)
    shape = dataset.splits["train"].shape
    margins = crop_margins((split.shape for split in dataset.splits.values()), view)
    held_out = "validation" if holdout == "validation" else HELD_OUT
    counts: dict[str, tuple[int, ...]] = {}
    trained: dict[Holdout, int] = {}
    shares: set[Holdout] = {0.0, holdout}
    used: Indices | None = None
    for share in shares:
        chosen = choose_indices(dataset, choice, share, holdout_labels)
        for name, part in chosen.items():
            kind = held_out if share and name == "measured" else KINDS[name]
            if kind not in counts or share:
                counts[kind] = _class_counts(*part, dataset.card.num_classes)
        split, indices = chosen["train"]
        trained[share] = len(split.labels if indices is None else indices)
        used = used if share else indices
    conditions = condition_notes(dataset, choice, used, holdout, holdout_labels)
    batch, least = recipe.batch_size, 2 * workers
    return DataFacts(
        image_size=None if shape is None else shape[1:],
        crop_margins=margins,
        train_images=trained[0.0],
        steps={share: steps_per_epoch(n, batch, least) for share, n in trained.items()},
        tuned_steps={
            size: {share: steps_per_epoch(n, size, least) for share, n in trained.items()}
            for size in batch_sizes
        },
        class_names=tuple(dataset.card.class_names),
        class_counts=counts,
        corrected_draws=frozenset(_corrected_draws(dataset, choice, holdout)),
        notes=(*dataset.notes, *conditions),
        warnings=dataset.warnings,
    )


def crop_margins(shapes: Iterable[Shape | None], view: View) -> frozenset[int] | None:
    """Numbers of rows and columns that central crops cut off from images.

    Args:
        shapes: Shapes of the images; None where they differ in size.
        view: Resizing and crop.

    Returns:
        The numbers; None if they differ from image to image.
    """
    margins: set[int] = set()
    for shape in shapes if view.crop is not None else ():
        if shape is None:
            return None
        margins |= set(view.margins(shape))
    return frozenset(margins)


def rounding_changed(shape: Shape | None, view: View) -> bool:
    """Whether earlier versions may have cropped images one pixel differently; see `revisions`."""
    return rounds_differently(crop_margins([shape], view))


def _class_counts(split: Split, indices: Indices | None, classes: int) -> tuple[int, ...]:
    labels = split.labels if indices is None else split.labels[indices]
    return tuple(np.bincount(labels, minlength=classes).tolist())


def _corrected_draws(dataset: Dataset, choice: DatasetChoice, holdout: Holdout) -> Iterator[str]:
    """Those of `train_size`, `test_size`, `holdout` for which a plain draw would lose a class."""
    for name, (labels, size) in drawn_labels(dataset, choice).items():
        if size is not None and draw_loses_class(labels, size, in_rest=False):
            yield f"{name}_size"
    if holdout and holdout != "validation":
        split, indices = choose_indices(dataset, choice, 0.0)["train"]
        labels = split.labels if indices is None else split.labels[indices]
        if draw_loses_class(labels, count_of_share(holdout, len(labels)), in_rest=True):
            yield "holdout"


def pixel_statistics(dataset: Dataset, view: View) -> tuple[float, float]:
    """Mean and standard deviation of the pixels, in [0, 255], of some training images.

    The images are evenly spaced in the training set.
    """
    images = dataset.splits["train"].to_device(torch.device("cpu"), view)
    chosen = torch.linspace(0, len(images) - 1, min(SAMPLED_IMAGES, len(images))).round().long()
    pixels = torch.cat([part.flatten().double() for part in images.unaugmented(chosen)])
    return float(pixels.mean()), float(pixels.std())


def view_of(recipe: Recipe) -> View:
    """Resizing and crop of the images under a recipe."""
    return View(recipe.input.resize, recipe.input.crop)
