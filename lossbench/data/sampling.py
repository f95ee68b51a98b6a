"""Subsets, held-out parts, and the order of images in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

Indices = NDArray[np.int64]


def stratified_subset(labels: Indices, size: int) -> Indices:
    """Indices of a stratified subset in ascending order, the same at every call.

    The subset has at least one image of each class.

    Args:
        labels: (N,)
        size: Number of images in the subset.

    Raises:
        ValueError: `size` is larger than N, or smaller than the number of classes.
    """
    if size > len(labels):
        raise ValueError(f"{size} images were requested, but there are only {len(labels)}")
    if size == len(labels):
        return np.arange(size)
    classes = len(np.unique(labels))
    if size < classes:
        raise ValueError(f"{size} of {len(labels)} images are fewer than the {classes} classes")
    drawn = _drawn_by_share(labels, size)
    if drawn is None or _lacks_class(labels, drawn):
        return _drawn_with_least(labels, size, rest=0)
    return drawn


def split_off(
    labels: Indices, part: float | int, names: Sequence[str] = ()
) -> tuple[Indices, Indices]:
    """Split off a stratified part of the images.

    Both parts have at least one image of each class. The split depends on the labels only, so that
    every trial holds out the same images.

    Args:
        labels: (N,)
        part: Share in (0, 1), or number of images, to split off.
        names: Class names, for messages.

    Returns:
        Indices of the rest, and indices of the part.

    Raises:
        ValueError: A class has too few images to be in both.
    """
    classes, counts = np.unique(labels, return_counts=True)
    number = count_of_share(part, len(labels)) if isinstance(part, float) else part
    rest_number = len(labels) - number
    of_all = f"{part} of {len(labels)} images"
    if number < len(classes):
        raise ValueError(f"{of_all} holds out {number}, fewer than the {len(classes)} classes")
    if rest_number < len(classes):
        raise ValueError(
            f"{of_all} leaves {max(rest_number, 0)}, fewer than the {len(classes)} classes"
        )
    if counts.min() < 2:
        single = classes[counts.argmin()]
        raise ValueError(
            f"class {names[single] if names else single} has only one image; both parts need one"
        )
    off = _drawn_by_share(labels, number)
    if off is None or _lacks_class(labels, off) or _lacks_class(labels, _others(labels, off)):
        off = _drawn_with_least(labels, number, rest=1)
    return _others(labels, off), off


def draw_loses_class(labels: Indices, number: int, *, in_rest: bool) -> bool:
    """Whether a plain stratified draw of some images leaves a class without any.

    Args:
        labels: (N,)
        number: Number of images to draw.
        in_rest: Whether the images that are not drawn should include every class, too.
    """
    if number == len(labels):
        return False
    drawn = _drawn_by_share(labels, number)
    if drawn is None or _lacks_class(labels, drawn):
        return True
    return in_rest and _lacks_class(labels, _others(labels, drawn))


def _drawn_by_share(labels: Indices, number: int) -> Indices | None:
    """Indices of a stratified draw, in ascending order; a rare class may be missing.

    None if scikit-learn cannot draw: a class has one image, or one part is smaller than the number
    of classes.
    """
    from sklearn.model_selection import train_test_split

    counts = np.unique(labels, return_counts=True)[1]
    if counts.min() < 2 or not len(counts) <= number <= len(labels) - len(counts):
        return None
    _, drawn = train_test_split(
        np.arange(len(labels)), test_size=number, random_state=0, stratify=labels
    )
    return np.sort(drawn)


def _drawn_with_least(labels: Indices, number: int, rest: int) -> Indices:
    """Indices of a stratified draw with one or more images per class; `rest` or more are left."""
    classes, counts = np.unique(labels, return_counts=True)
    share = number * counts / len(labels)
    wanted = np.clip(np.floor(share), 1, counts - rest).astype(np.int64)
    while (missing := number - wanted.sum()) != 0:
        step = 1 if missing > 0 else -1
        possible = wanted < counts - rest if missing > 0 else wanted > 1
        wanted[np.where(possible, step * (share - wanted), -np.inf).argmax()] += step
    random = np.random.RandomState(0)
    drawn = [
        random.permutation(np.flatnonzero(labels == k))[:number_of_class]
        for k, number_of_class in zip(classes, wanted, strict=True)
    ]
    return np.sort(np.concatenate(drawn))


def _lacks_class(labels: Indices, chosen: Indices) -> bool:
    return len(np.unique(labels[chosen])) < len(np.unique(labels))


def _others(labels: Indices, chosen: Indices) -> Indices:
    kept = np.ones(len(labels), bool)
    kept[chosen] = False
    return np.flatnonzero(kept)


def count_of_share(share: float, count: int) -> int:
    """Number of images that is a share of `count` images, rounded up."""
    return math.ceil(share * count - 1e-9)  # 0.07 * 100 is 7.000000000000001


def epoch_order(labels: Tensor, group_size: int | None, generator: Generator) -> Tensor:
    """Random order of the images in one epoch.

    Args:
        labels: (N,)
        group_size: Number of consecutive images of the same class; the last group of a class may
            be smaller, and the groups are shuffled. None shuffles individual images.
        generator: CPU generator.

    Returns:
        (N,) Indices.
    """
    order = torch.randperm(len(labels), generator=generator)
    if group_size is None:
        return order
    by_class = order[torch.argsort(labels[order], stable=True)]  # sorted by class
    groups = [
        group
        for members in torch.split(by_class, torch.bincount(labels).tolist())
        for group in members.split(group_size)
    ]
    shuffled = torch.randperm(len(groups), generator=generator).tolist()
    return torch.cat([groups[i] for i in shuffled])


def split_into_batches(order: Tensor, batch_size: int, least: int = 2) -> Iterator[Tensor]:
    """Split an order into batches; a last batch that is too small is joined to the one before.

    Args:
        order: (N,) Indices.
        batch_size: Number of images per batch, at least `least`.
        least: Smallest number of images in a batch: two per process, because batch normalisation
            cannot train on one image.
    """
    pieces = list(order.split(batch_size))
    if len(pieces) > 1 and len(pieces[-1]) < least:
        last = pieces.pop()
        pieces[-1] = torch.cat([pieces[-1], last])
    yield from pieces


def steps_per_epoch(count: int, batch_size: int, least: int = 2) -> int:
    """Number of batches that `split_into_batches` makes of `count` images."""
    full, rest = divmod(count, batch_size)
    return max(full + (rest >= least), 1)
