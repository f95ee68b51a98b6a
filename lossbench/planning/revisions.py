"""Changes of the code since protocol 4 that affect the results of some trainings.

Each change has a function here that returns whether it affects a training. An affected training has
the revision in its identity, so that it is trained again; all others keep their identity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lossbench.suite.schema import Component, Holdout, Recipe

_ROUNDING = 1e-9
"""Rounding tolerance of schedules and of the number of held-out images."""


@dataclass(frozen=True)
class DataFacts:
    """Facts about the data of a suite that its plan depends on.

    Attributes:
        image_size: (H, W) of every training image; None if sizes differ, or there are no images.
        crop_margins: Numbers of rows and columns that central crops cut off from the images that
            are trained and measured; None if sizes differ.
        train_images: Number of training images, including the held-out part.
        steps: Training steps per epoch, by the held-out part, as in `Trial`.
        tuned_steps: The same with each batch size that the suite's `tune` allows.
        class_names: Names of the used classes, in the order of their labels.
        class_counts: Images of each class by their use: `training` (without a held-out part),
            `held-out`, `validation`, `test`.
        corrected_draws: Those of `train_size`, `test_size` and `holdout` whose stratified draw
            needed a correction so that every class has an image.
        notes: Lines on the use of the parts of the data.
        warnings: Lines that a reader should know before trusting the numbers.
    """

    image_size: tuple[int, int] | None = None
    crop_margins: frozenset[int] | None = frozenset()
    train_images: int = 0
    steps: Mapping[Holdout, int] = field(default_factory=dict)
    tuned_steps: Mapping[int, Mapping[Holdout, int]] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    class_counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    corrected_draws: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingParts:
    """Parts of a training that revisions depend on.

    Attributes:
        recipe, augment, loss, holdout: As in `Trial`.
        stop_early: Whether the trial may be pruned if its row is behind others.
        facts: Facts about the data.
    """

    recipe: Recipe
    augment: tuple[Component, ...]
    loss: Component
    holdout: Holdout
    stop_early: bool
    facts: DataFacts


def revisions_of(parts: TrainingParts) -> dict[str, int]:
    """Revision of each changed part of a training; parts without a change are left out."""
    return {part: number for part, (number, affects) in _REVISIONS.items() if affects(parts)}


def _rounds_margin_differently(parts: TrainingParts) -> bool:
    """Half the margin of a central crop is rounded half to even, as in torchvision.

    Revision 1 rounded down. The results are the same unless a margin is 3, 7, 11, ... pixels.
    """
    return rounds_differently(parts.facts.crop_margins)


def rounds_differently(margins: frozenset[int] | None) -> bool:
    """Whether half of one of these margins is rounded differently than in revision 1.

    Args:
        margins: Numbers of rows and columns that central crops cut off; None if they are unknown.
    """
    return margins is None or any(margin % 4 == 3 for margin in margins)


def _crops_at_random(parts: TrainingParts) -> bool:
    """`random_resized_crop` falls back to the largest central part after ten failed draws.

    Revision 1 fell back to a central square. Ten draws can fail with every image and every
    `min_area`: a draw fails if its area is near 1 and its aspect ratio differs from the image's.
    """
    return any(chosen.name == "random_resized_crop" for chosen in parts.augment)


def _had_late_switch(parts: TrainingParts) -> bool:
    """A learning rate changes at its milestone despite rounding in the number of finished epochs.

    In revision 1 it changed one step late. Only the steps nearest to a change are tested.
    """
    chosen, epochs = parts.recipe.schedule, parts.recipe.epochs
    steps = parts.facts.steps.get(parts.holdout, 0)
    if not steps:
        return False
    if chosen.name == "multistep":
        milestones = np.array(chosen.params["milestones"])
        done = _nearest_steps(milestones, steps)
        late = (done < milestones) & (done + _ROUNDING >= milestones)
    elif chosen.name == "step":
        every = chosen.params["every"]
        distance = max(every, 1 / steps)
        done = _nearest_steps(np.arange(1, epochs // distance + 2) * distance, steps)
        late = np.floor(done / every) != np.floor(done / every + _ROUNDING)
    else:
        return False
    return bool((late & (done < epochs)).any())


def _nearest_steps(epochs: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Finished epochs, as the training loop counts them, at the steps nearest to given epochs."""
    whole, step = np.divmod(np.rint(epochs * steps), steps)
    return np.asarray(whole + step / steps)


def _had_one_more_held_out(parts: TrainingParts) -> bool:
    """0.07 of 100 images are 7; revision 1 rounded 7.000000000000001 up to 8."""
    if parts.holdout == "validation":
        return False
    product = parts.holdout * parts.facts.train_images
    return math.ceil(product) != math.ceil(product - _ROUNDING)


def _lost_class(parts: TrainingParts) -> bool:
    """Every class has an image in each part; in revision 1 a rare class could lack images.

    Draws that have all classes without a correction are unchanged.
    """
    drawn = {"train_size", "holdout"} if parts.holdout else {"train_size", "test_size"}
    return bool(drawn & parts.facts.corrected_draws)


def _stops_early(parts: TrainingParts) -> bool:
    """Rows are pruned with all their seeds, late in training; revision 1 pruned single trials."""
    return parts.stop_early


_REVISIONS: Mapping[str, tuple[int, Callable[[TrainingParts], bool]]] = {
    "central crop": (2, _rounds_margin_differently),
    "random_resized_crop": (2, _crops_at_random),
    "schedule": (2, _had_late_switch),
    "held-out part": (2, _had_one_more_held_out),
    "subset": (2, _lost_class),
    "early stopping": (2, _stops_early),
}
