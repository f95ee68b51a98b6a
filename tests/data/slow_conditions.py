"""Slow reference for conditions of a training set: loops over images, exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def of_class(labels: list[int], k: int) -> list[int]:
    return [i for i, label in enumerate(labels) if label == k]


def share_of(rate: float, count: int) -> int:
    """Nearest integer of the decimal that `rate` is written as, times `count`; halves up."""
    return math.floor(Fraction(repr(rate)) * count + Fraction(1, 2))


def slow_symmetric(labels: list[int], classes: int, rate: float, seed: int) -> list[int]:
    random, noisy = np.random.RandomState(seed), list(labels)
    for k in range(classes):
        members = of_class(labels, k)
        order = random.permutation(np.array(members, int)).tolist()
        others = [other for other in range(classes) if other != k]
        drawn = random.randint(len(others), size=len(members), dtype=np.int64)
        for position in range(share_of(rate, len(members))):
            noisy[order[position]] = others[drawn[position]]
    return noisy


def slow_asymmetric(labels: list[int], mapping: dict[int, int], rate: float) -> list[int]:
    random, noisy = np.random.RandomState(0), list(labels)
    for k in range(max(labels) + 1):
        order = random.permutation(np.array(of_class(labels, k), int)).tolist()
        for i in order[: share_of(rate, len(order))]:
            noisy[i] = mapping.get(k, k)
    return noisy


def slow_sizes(available: list[int], kind: str, ratio: int) -> list[int]:
    """Sizes of the classes for the largest n that fits, found by trying all of them."""
    classes = len(available)

    def size(n: int, k: int) -> int:
        if kind == "step":
            return n if k < classes // 2 else math.floor(Fraction(n, ratio))
        # the largest m with m^(K-1) * ratio^k <= n^(K-1), in integers
        m = n
        while m ** (classes - 1) * ratio**k > n ** (classes - 1):
            m -= 1
        return m

    fitting = [
        n
        for n in range(max(available) + 1)
        if all(size(n, k) <= have for k, have in enumerate(available))
    ]
    return [size(fitting[-1], k) for k in range(classes)]


def slow_subset(labels: list[int], sizes: list[int], seed: int = 0) -> list[int]:
    random, kept = np.random.RandomState(seed), []
    for k, size in enumerate(sizes):
        kept += random.permutation(np.array(of_class(labels, k), int)).tolist()[:size]
    return sorted(kept)
