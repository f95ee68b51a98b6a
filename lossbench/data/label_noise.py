"""Label noise: an exact share of the labels of each class is wrong."""

from __future__ import annotations

import math

import numpy as np

from lossbench.data.sampling import Indices


def symmetric_noise(labels: Indices, num_classes: int, rate: float, seed: int) -> Indices:
    """Labels of which a share is wrong, with the wrong class uniform over the other K - 1 classes.

    Of the n_k images of class k, `count_of_rate(rate, n_k)` are changed: the first ones of a random
    permutation of the class. A new label is drawn for every image of the class, so with one seed
    the wrong labels at a lower rate are among those at a higher rate.

    Args:
        labels: True labels (N,).
        num_classes: Number K of classes.
        rate: Share of wrong labels, in [0, 1).
        seed: Seed of a `RandomState`, whose numbers are the same with every version of NumPy.

    Reference: Patrini et al., Making Deep Neural Networks Robust to Label Noise. CVPR 2017. Also
        Han et al., Co-teaching. NeurIPS 2018.

    Deviations: the papers change each label with probability `rate`; here the number in each class
        is exact. Other papers, such as Li et al., DivideMix (ICLR 2020), draw the new label over
        all K classes, so that only r(K - 1)/K of the labels are wrong at their rate r.
    """
    random, noisy = np.random.RandomState(seed), labels.copy()
    for k, members in enumerate(members_of_classes(labels, num_classes)):
        order = random.permutation(members)
        drawn = random.randint(num_classes - 1, size=len(members), dtype=np.int64)
        other = drawn + (drawn >= k)  # all classes but k
        count = count_of_rate(rate, len(members))
        noisy[order[:count]] = other[:count]
    return noisy


def asymmetric_noise(labels: Indices, targets: Indices, rate: float, seed: int) -> Indices:
    """Labels of which a share of class k is changed to the class `targets[k]`.

    Of the n_k images of class k, `count_of_rate(rate, n_k)` are changed: the first ones of a random
    permutation of the class, so with one seed the wrong labels at a lower rate are among those at a
    higher rate.

    Args:
        labels: True labels (N,).
        targets: New class (K,) of the changed labels of each class; k for class k changes nothing.
        rate: Share of the images of each changed class, in [0, 1).
        seed: Seed of a `RandomState`, whose numbers are the same with every version of NumPy.

    Reference: Patrini et al., Making Deep Neural Networks Robust to Label Noise. CVPR 2017.

    Deviations: the paper changes each label with probability `rate`; here the number in each class
        is exact.
    """
    random, noisy = np.random.RandomState(seed), labels.copy()
    for k, members in enumerate(members_of_classes(labels, len(targets))):
        order = random.permutation(members)
        noisy[order[: count_of_rate(rate, len(members))]] = targets[k]
    return noisy


def count_of_rate(rate: float, count: int) -> int:
    """Rate times number of images, rounded to the nearest integer; a half is rounded up."""
    return math.floor(rate * count + 0.5 + 1e-9)  # 0.29 * 50 is 14.499999999999998


def members_of_classes(labels: Indices, num_classes: int) -> list[Indices]:
    """Indices of the images of each class, in ascending order."""
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=num_classes))
    return np.split(order, ends[:-1])
