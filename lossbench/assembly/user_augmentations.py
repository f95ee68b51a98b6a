"""Check of an augmentation whose code is not part of lossbench, on random images."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from lossbench.assembly.user_components import described, restored_random_states
from lossbench.data.images import Augment
from lossbench.errors import UnusableComponentError


def check_augmentation(augment: Augment | Any, images: Tensor) -> Tensor:
    """Augment random images several times.

    Args:
        augment: Result of the augmentation's factory.
        images: uint8 (B, C, H, W)

    Returns:
        The augmented images.

    Raises:
        UnusableComponentError: It is no function from images and a generator to images, or it uses
            other random numbers than those of the generator.
    """
    if not callable(augment):
        raise UnusableComponentError(
            f"gives {described(augment)}; should give a function: images, generator -> images"
        )
    with restored_random_states():
        states = _global_states()
        results = [_augmented(augment, images) for _ in range(2)]
        names = [n for n, state in _global_states().items() if state != states[n]]
        _augmented(augment, images[:1])  # image files are augmented one by one
        generators = [Generator().manual_seed(seed) for seed in (1, 2)]
        for generator in generators:
            augment(images.clone(), generator)
    if names:
        raise UnusableComponentError(
            f"it draws from the global random generator of {' and '.join(names)}; draw from the "
            "generator that it is given, as in torch.rand(n, generator=generator)"
        )
    if torch.equal(*(generator.get_state() for generator in generators)):
        raise UnusableComponentError(
            "it seeds the generator that it is given, so that every batch gets the same random "
            "numbers; remove generator.manual_seed"
        )
    if not torch.equal(*results):
        raise UnusableComponentError(
            "two calls with the same images and the same seed of the generator give different "
            "images; it should have no state and no other random numbers"
        )
    return results[0]


def _augmented(augment: Callable[[Tensor, Generator], Any], images: Tensor) -> Tensor:
    """Augmented images.

    Raises:
        UnusableComponentError: The result is no batch of images.
    """
    given = images.clone()  # it may change them
    result = augment(given, Generator().manual_seed(0))
    if not isinstance(result, Tensor):
        raise UnusableComponentError(f"returns {described(result)}; should return a tensor")
    count, channels = images.shape[:2]
    if result.ndim != 4 or result.shape[:2] != (count, channels):
        wanted = f"({count}, {channels}, height, width)"
        raise UnusableComponentError(
            f"returns shape {tuple(result.shape)} for images of shape {tuple(images.shape)}; "
            f"should be {wanted}"
        )
    if result.dtype == torch.uint8:
        return result
    if not result.is_floating_point():
        raise UnusableComponentError(f"returns {_type_of(result)}; should return uint8, as given")
    low, high = float(result.min()), float(result.max())
    if not (low >= 0 and high <= 255 and math.isfinite(low + high)) or high <= 1:
        raise UnusableComponentError(
            f"returns pixels from {low:g} to {high:g}; they should be from 0 to 255, as given "
            "(uint8), because recipe.input scales them afterwards"
        )
    return result


def _global_states() -> dict[str, Any]:
    """States of the global random generators, which can be compared."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": (name, np.asarray(keys).tolist(), *rest),
        "random": random.getstate(),
    }


def _type_of(images: Tensor) -> str:
    return str(images.dtype).removeprefix("torch.")
