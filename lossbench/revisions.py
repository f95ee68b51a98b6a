"""Parts of a training whose numbers have changed since protocol 4, and which trainings they touch.

A change that gives other numbers to some trainings gets a function here. A training that it touches
has the revision in its identity, so that it is trained again; all others keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lossbench.suite import Component, Recipe


@dataclass(frozen=True)
class DataFacts:
    """What a plan needs to know of the data of its suite.

    Attributes:
        image_size: (H, W) of every training image; None where sizes differ, or there are no images.
        crop_margins: Rows and columns that central crops cut off from the images that are trained
            and measured; None where sizes differ.
    """

    image_size: tuple[int, int] | None = None
    crop_margins: frozenset[int] | None = frozenset()


@dataclass(frozen=True)
class TrainingParts:
    """What a training is made of, as far as a revision depends on it.

    Attributes:
        recipe, augment, loss: As in `Trial`.
        holdout: Share of the training set that is held out.
        facts: Of the data.
    """

    recipe: Recipe
    augment: tuple[Component, ...]
    loss: Component
    holdout: float
    facts: DataFacts


def revisions_of(parts: TrainingParts) -> dict[str, int]:
    """Revision of each part that a training uses; a part of which nothing changed is left out."""
    return {part: number for part, (number, touches) in _REVISIONS.items() if touches(parts)}


def _cuts_odd_margin(parts: TrainingParts) -> bool:
    """The central crop rounds half to even, as torchvision does; it rounded down before.

    Both agree unless a margin is 3, 7, 11, ... pixels.
    """
    margins = parts.facts.crop_margins
    return margins is None or any(margin % 4 == 3 for margin in margins)


_REVISIONS: Mapping[str, tuple[int, Callable[[TrainingParts], bool]]] = {
    "central crop": (2, _cuts_odd_margin),
}
