"""Usual maps of asymmetric label noise: class -> class that its images are mistaken for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

_SUPERCLASSES = """
beaver dolphin otter seal whale
aquarium_fish flatfish ray shark trout
orchid poppy rose sunflower tulip
bottle bowl can cup plate
apple mushroom orange pear sweet_pepper
clock keyboard lamp telephone television
bed chair couch table wardrobe
bee beetle butterfly caterpillar cockroach
bear leopard lion tiger wolf
bridge castle house road skyscraper
cloud forest mountain plain sea
camel cattle chimpanzee elephant kangaroo
fox porcupine possum raccoon skunk
crab lobster snail spider worm
baby boy girl man woman
crocodile dinosaur lizard snake turtle
hamster mouse rabbit shrew squirrel
maple_tree oak_tree palm_tree pine_tree willow_tree
bicycle bus motorcycle pickup_truck train
lawn_mower rocket streetcar tank tractor
"""
"""The 20 superclasses of CIFAR-100, one per line (Krizhevsky, 2009)."""


def _next_within_superclass() -> dict[str, str]:
    """Each class of CIFAR-100 -> the next one of its superclass in alphabetical order; the last
    -> the first.

    This is also the order of the class numbers. The code that Patrini et al. published uses blocks
    of five consecutive class numbers instead, which are not the superclasses.
    """
    lines = [sorted(line.split()) for line in _SUPERCLASSES.split("\n") if line]
    return dict(pair for line in lines for pair in itertools.pairwise([*line, line[0]]))


USUAL_MAPS: Mapping[str, Mapping[str, str]] = {
    "cifar10": {
        "truck": "automobile",
        "bird": "airplane",
        "deer": "horse",
        "cat": "dog",
        "dog": "cat",
    },
    "cifar100": _next_within_superclass(),
    "mnist": {"2": "7", "3": "8", "5": "6", "6": "5", "7": "1"},
}
"""Maps of Patrini et al. (CVPR 2017) by data set. Classes that are left out keep their labels."""
