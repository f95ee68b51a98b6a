"""Parts of a training whose numbers have changed since protocol 4, and which trainings they touch.

A change that gives other numbers to some trainings gets a function here. A training that it touches
has the revision in its identity, so that it is trained again; all others keep theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lossbench.suite.schema import Component, Holdout, Recipe

_ROUNDING = 1e-9
"""Rounding error of schedules and of the number of held-out images."""


@dataclass(frozen=True)
class DataFacts:
    """Facts about the data of a suite that its plan depends on.

    Attributes:
        image_size: (H, W) of every training image; None if sizes differ, or there are no images.
        crop_margins: Numbers of rows and columns that central crops cut off from the images that
            are trained and measured; None if sizes differ.
        train_images: Number of training images, including those that are held out.
        steps: Training steps per epoch, by the held-out part, as in `Trial`.
        class_names: Names of the used classes, in the order of their labels.
        class_counts: Images of each class by their use: `training` (without a held-out part),
            `held-out`, `validation`, `test`.
        amended: Draws of images, `train_size`, `test_size` or `holdout`, that a plain stratified
            one would have left without a class.
        notes: Lines on which part of the data is used for what.
        warnings: Lines that a reader should know before trusting the numbers.
    """

    image_size: tuple[int, int] | None = None
    crop_margins: frozenset[int] | None = frozenset()
    train_images: int = 0
    steps: Mapping[Holdout, int] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    class_counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    amended: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingParts:
    """Parts of a training that revisions depend on.

    Attributes:
        recipe, augment, loss, holdout: As in `Trial`.
        stop_early: Whether it is pruned if its row is behind.
        facts: Facts about the data.
    """

    recipe: Recipe
    augment: tuple[Component, ...]
    loss: Component
    holdout: Holdout
    stop_early: bool
    facts: DataFacts


def revisions_of(parts: TrainingParts) -> dict[str, int]:
    """Revision of each part that a training uses; a part of which nothing changed is left out."""
    return {part: number for part, (number, touches) in _REVISIONS.items() if touches(parts)}


def _rounds_margin_differently(parts: TrainingParts) -> bool:
    """The central crop rounds half to even, as torchvision does; it rounded down before.

    Both agree unless a margin is 3, 7, 11, ... pixels.
    """
    margins = parts.facts.crop_margins
    return margins is None or any(margin % 4 == 3 for margin in margins)


def _crops_at_random(parts: TrainingParts) -> bool:
    """`random_resized_crop` falls back to the largest central part after ten failed draws.

    It fell back to a central square before. That can happen with every image and every `min_area`:
    a draw fails where the area is near 1 and the aspect ratio another than the image's.
    """
    return any(chosen.name == "random_resized_crop" for chosen in parts.augment)


def _switches_late(parts: TrainingParts) -> bool:
    """A learning rate changes at its milestone even if the epochs done lack a last bit of it.

    It changed a step later before. The steps are looked at that are nearest to a change.
    """
    chosen, epochs = parts.recipe.schedule, parts.recipe.epochs
    steps = parts.facts.steps.get(parts.holdout, 0)
    if not steps:
        return False
    if chosen.name == "multistep":
        places = np.array(chosen.params["milestones"])
        done = _nearest_steps(places, steps)
        late = (done < places) & (done + _ROUNDING >= places)
    elif chosen.name == "step":
        every = chosen.params["every"]
        apart = max(every, 1 / steps)
        done = _nearest_steps(np.arange(1, epochs // apart + 2) * apart, steps)
        late = np.floor(done / every) != np.floor(done / every + _ROUNDING)
    else:
        return False
    return bool((late & (done < epochs)).any())


def _nearest_steps(epochs: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Epochs done, as the training loop counts them, at the steps nearest to given epochs."""
    whole, step = np.divmod(np.rint(epochs * steps), steps)
    return np.asarray(whole + step / steps)


def _holds_out_one_more(parts: TrainingParts) -> bool:
    """0.07 of 100 images are 7; rounded up, 7.000000000000001 were 8 before."""
    if parts.holdout == "validation":
        return False
    product = parts.holdout * parts.facts.train_images
    return math.ceil(product) != math.ceil(product - _ROUNDING)


def _would_lose_class(parts: TrainingParts) -> bool:
    """Every class has an image in each part; a stratified draw alone may leave none of a rare one.

    Draws that have all classes anyway are as before.
    """
    drawn = {"train_size", "holdout"} if parts.holdout else {"train_size", "test_size"}
    return bool(drawn & parts.facts.amended)


def _stops_early(parts: TrainingParts) -> bool:
    """Whole rows are pruned, late and with all their seeds; before, single trials were."""
    return parts.stop_early


_REVISIONS: Mapping[str, tuple[int, Callable[[TrainingParts], bool]]] = {
    "central crop": (2, _rounds_margin_differently),
    "random_resized_crop": (2, _crops_at_random),
    "schedule": (2, _switches_late),
    "held-out part": (2, _holds_out_one_more),
    "subset": (2, _would_lose_class),
    "early stopping": (2, _stops_early),
}
