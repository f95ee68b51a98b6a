"""Transforms of torchvision.transforms.v2, available as `v2.NAME`: `v2.ColorJitter: {hue: 0.1}`.

Parameters and defaults are those of their constructors. torchvision takes a second to import; it
is imported when a suite names one of its transforms.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor

from lossbench.data.images import Augment
from lossbench.data.torchvision_catalogue import REFERENCE
from lossbench.data.torchvision_docstrings import read_docstring
from lossbench.data.torchvision_transforms import (
    create_transform,
    nested_transforms,
    transform_class,
    transform_parameters,
)
from lossbench.errors import UnusableComponentError, first_line
from lossbench.registry import Entry, parameters_model

DETERMINISTIC = {"CenterCrop", "Grayscale", "Identity", "Pad", "RGB", "Resize"}
"""Transforms that draw no random numbers, so that they can be applied to a whole batch."""
RESIZING = {"RandomResize", "RandomResizedCrop", "RandomShortestSize", "Resize", "ScaleJitter"}
"""Transforms that resize images, so that these need not be resized before."""

NOTE = """
Transform of torchvision.transforms.v2. If it is random, it is applied to each image on its own, on
the CPU, with random numbers of the trial's own stream."""


class TorchvisionAugmentation:
    """Transform of torchvision.transforms.v2 on batches of images.

    A random transform is applied to each image on its own, on the CPU, so that each image gets its
    own random numbers and they are the same on every device. Its random numbers are those of
    torch's global generator, whose state is put back afterwards: it is seeded with a number from
    the given generator, once per batch.

    Args:
        name: Name of the transform in the library.
        params: Its parameters, as validated by `transform_parameters`.
    """

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        self.name = name
        self.transform: Any = create_transform(name, params)
        self.is_random = _draws(name, params)
        self.takes_whole_image = _resizes(name, params)

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        try:
            if not self.is_random:
                whole: Tensor = self.transform(images)
                return whole
            seed = int(torch.randint(2**62, (), generator=generator))
            with _seeded_global_generator(seed):
                each = [
                    self.transform(image) for image in images.cpu().contiguous()
                ]  # each (C, H, W)
        except Exception as error:  # the library raises various types
            size = "x".join(map(str, images.shape[1:]))
            text = first_line(error)
            raise UnusableComponentError(
                f"augmentation v2.{self.name} fails on {size} images: {text}"
            ) from None
        sizes = sorted({image.shape for image in each})
        if len(sizes) > 1:
            one, other = ("x".join(map(str, size)) for size in (sizes[0], sizes[-1]))
            raise UnusableComponentError(
                f"augmentation v2.{self.name} gives images of different sizes, {one} and {other}; "
                "put it into v2.Compose, with a transform after it that crops or resizes"
            )
        return torch.stack(each).to(images.device)


def v2_entry(name: str) -> Entry[Augment]:
    """Registry entry of a transform.

    Args:
        name: Name of the transform in the library.
    """

    def create(crop: int | None, **params: Any) -> Augment:
        return TorchvisionAugmentation(name, params)

    parameters = transform_parameters(name)
    documented = read_docstring(transform_class(name), parameters.model_fields)
    create.__doc__ = f"{documented.summary}\n{NOTE}{documented.arguments}"
    return Entry(
        "augmentation",
        f"v2.{name}",
        create,
        REFERENCE,
        parameters,
        distribution="torchvision",
    )


def placeholder_entry() -> Entry[Augment]:
    """Registry entry that represents all transforms of the library in a list."""

    def create(crop: int | None) -> Augment:
        """Any transform of torchvision; `list augmentations v2.ColorJitter` shows one."""
        raise NotImplementedError

    return Entry("augmentation", "v2.NAME", create, REFERENCE, parameters_model("v2", {}))


def _draws(name: str, params: dict[str, Any]) -> bool:
    if name == "Compose":
        return any(_draws(*each) for each in nested_transforms(params))
    return name not in DETERMINISTIC


def _resizes(name: str, params: dict[str, Any]) -> bool:
    """Whether a transform resizes images; for `Compose`, whether its first one does."""
    if name == "Compose":
        return _resizes(*nested_transforms(params)[0])
    return name in RESIZING


@contextmanager
def _seeded_global_generator(seed: int) -> Iterator[None]:
    """Seed torch's global generator of the CPU, and put its state back afterwards."""
    # not torch.manual_seed, which seeds the GPUs, too
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
