"""Classes of unequal size: long tail, step, and a number of images per class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lossbench.data.label_noise import members_of_classes
from lossbench.data.sampling import Indices


def long_tail_shares(num_classes: int, ratio: float) -> NDArray[np.float64]:
    """Size of each class relative to the first: ratio^(-k / (K - 1)), shape (K,).

    Reference: Cui et al., Class-Balanced Loss Based on Effective Number of Samples. CVPR 2019.
        Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss.
        NeurIPS 2019.
    """
    return np.asarray(ratio ** (-np.arange(num_classes) / (num_classes - 1)), np.float64)


def step_shares(num_classes: int, ratio: float) -> NDArray[np.float64]:
    """Size of each class relative to the first: 1 for the first half, 1 / ratio for the others.

    With an odd number of classes, the middle class is one of the small ones.

    Reference: Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss.
        NeurIPS 2019.
    """
    return np.where(np.arange(num_classes) < num_classes // 2, 1.0, 1.0 / ratio)


SHARES: dict[str, Callable[[int, float], NDArray[np.float64]]] = {
    "long_tail": long_tail_shares,
    "step": step_shares,
}


def imbalanced_sizes(available: Indices, shares: NDArray[np.float64]) -> Indices:
    """Number of images of each class: floor(n * share), for the largest n that is possible.

    For balanced data n is the number of images per class.

    Args:
        available: Number (K,) of images of each class.
        shares: Size (K,) of each class relative to the largest, in (0, 1].
    """

    def sizes(largest: int) -> Indices:
        exact = largest * shares
        return np.floor(exact * (1 + 1e-12)).astype(np.int64)  # 49.999999999999993 is 50

    possible, too_many = 0, int(available.max()) + 1
    while too_many - possible > 1:
        middle = (possible + too_many) // 2
        if (sizes(middle) <= available).all():
            possible = middle
        else:
            too_many = middle
    return sizes(possible)


def draw_per_class(labels: Indices, sizes: Indices, seed: int) -> Indices:
    """Indices of a random subset with these numbers of images per class, in ascending order.

    The images of a class are the first ones of a random permutation, so with one seed a smaller
    subset is part of a larger one.

    Args:
        labels: (N,)
        sizes: Number (K,) of images of each class, at most as many as there are.
        seed: Seed of a `RandomState`, whose numbers are the same with every version of NumPy.
    """
    random = np.random.RandomState(seed)
    members = members_of_classes(labels, len(sizes))
    drawn = [random.permutation(own)[:size] for own, size in zip(members, sizes, strict=True)]
    return np.sort(np.concatenate(drawn))
