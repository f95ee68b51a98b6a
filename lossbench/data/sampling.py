"""Which images, in which order: subsets, held-out parts, batches."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor


def stratified_subset(labels: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Indices of a subset with each class's share, the same at every call, in ascending order.

    Raises:
        ValueError: There are fewer images, or fewer places than classes.
    """
    if size == len(labels):
        return np.arange(size)
    return split_off(labels, size)[1]


def split_off(
    labels: NDArray[np.int64], part: float | int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split off a share (or a number) of each class: indices of the rest, and of the part.

    The split depends on the labels only: every trial holds out the same images.

    Raises:
        ValueError: A class has too few images to stand in both.
    """
    from sklearn.model_selection import train_test_split

    classes, counts = np.unique(labels, return_counts=True)
    number = number_of(part, len(labels)) if isinstance(part, float) else part
    rest_number = len(labels) - number
    said = f"{part} of {len(labels)} images"
    if number < len(classes):
        raise ValueError(f"{said} holds out {number}, fewer than the {len(classes)} classes")
    if rest_number < len(classes):
        raise ValueError(
            f"{said} leaves {max(rest_number, 0)}, fewer than the {len(classes)} classes"
        )
    if counts.min() < 2:
        raise ValueError(f"class {classes[counts.argmin()]} has one image, which cannot be split")
    indices = np.arange(len(labels))
    rest, off = train_test_split(indices, test_size=number, random_state=0, stratify=labels)
    return np.sort(rest), np.sort(off)


def number_of(share: float, count: int) -> int:
    """How many of `count` images a share is, rounded up."""
    return math.ceil(share * count - 1e-9)  # 0.07 * 100 is 7.000000000000001


def epoch_order(labels: Tensor, group_size: int | None, generator: Generator) -> Tensor:
    """The order of one epoch; each image once.

    Args:
        labels: (N,)
        group_size: None for a plain shuffle; else images come in groups of this many of one
            class (the rest of a class in a smaller one), and the groups are shuffled.
        generator: On the CPU.
    """
    order = torch.randperm(len(labels), generator=generator)
    if group_size is None:
        return order
    by_class = order[torch.argsort(labels[order], stable=True)]  # classes one after the other
    groups = [
        group
        for members in torch.split(by_class, torch.bincount(labels).tolist())
        for group in members.split(group_size)
    ]
    shuffled = torch.randperm(len(groups), generator=generator).tolist()
    return torch.cat([groups[i] for i in shuffled])


def batches(order: Tensor, batch_size: int, least: int = 2) -> Iterator[Tensor]:
    """Cut an order into batches; a last one that is too small joins the one before.

    Args:
        order: (N,)
        batch_size: At least `least`.
        least: Images of a batch. Batch normalisation cannot train on one image, so a process
            needs two.
    """
    pieces = list(order.split(batch_size))
    if len(pieces) > 1 and len(pieces[-1]) < least:
        last = pieces.pop()
        pieces[-1] = torch.cat([pieces[-1], last])
    yield from pieces


def steps_per_epoch(count: int, batch_size: int, least: int = 2) -> int:
    """How many batches `batches` makes of `count` images."""
    full, rest = divmod(count, batch_size)
    return max(full + (rest >= least), 1)
