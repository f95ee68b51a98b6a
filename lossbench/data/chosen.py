"""The images that a suite chooses from a data set, and what its plan needs to know of them."""

from __future__ import annotations

from collections.abc import Iterable

from lossbench.data.dataset import Dataset, Split
from lossbench.data.images import Shape, View
from lossbench.data.sampling import split_off, steps_per_epoch, stratified_subset
from lossbench.revisions import DataFacts
from lossbench.suite import DatasetChoice, Recipe, Suite

Seen = tuple[Shape | None, View]
"""Shape of images, None where they differ in size, and the part of them that a model sees."""


def choose_images(dataset: Dataset, choice: DatasetChoice, holdout: float) -> dict[str, Split]:
    """The images to train on, `train`, and those to measure on, `measured`, if there are any."""
    parts: dict[str, Split] = {}
    for name, size in (("train", choice.train_size), ("test", choice.test_size)):
        if name in dataset.splits:
            split = dataset.splits[name]
            parts[name] = (
                split if size is None else split.subset(stratified_subset(split.labels, size))
            )
    if not holdout:
        return {"train": parts["train"]} | ({"measured": parts["test"]} if "test" in parts else {})
    rest, held_out = split_off(parts["train"].labels, holdout)
    return {"train": parts["train"].subset(rest), "measured": parts["train"].subset(held_out)}


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
    trained = {
        holdout: len(choose_images(dataset, suite.dataset, holdout)["train"].labels)
        for holdout in {0.0, suite.selection.holdout if suite.selection else 0.0}
    }
    batch, least = suite.recipe.batch_size, 2 * suite.resources.workers
    return DataFacts(
        image_size=None if shape is None else shape[1:],
        crop_margins=None if margins is None else frozenset(margins),
        train_images=trained[0.0],
        steps={holdout: steps_per_epoch(n, batch, least) for holdout, n in trained.items()},
    )


def view_of(recipe: Recipe) -> View:
    return View(recipe.input.resize, recipe.input.crop)
