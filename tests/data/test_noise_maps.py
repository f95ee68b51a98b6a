"""The usual maps of asymmetric label noise, against the published numbers of the classes."""

from __future__ import annotations

from lossbench.data.noise_maps import USUAL_MAPS

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
COARSE = """
 4  1 14  8  0  6  7  7 18  3    3 14  9 18  7 11  3  9  7 11    6 11  5 10  7  6 13 15  3 15
 0 11  1 10 12 14 16  9 11  5    5 19  8  8 15 13 14 17 18 10   16  4 17  4  2  0 17  4 18 17
10  3  2 12 12 16 12  1  9 19    2 10  0  1 16 12  9 13 15 13   16 19  2  4  6 19  5  5  8 19
18  1  2 15  6  0 17  8 14 13
"""
"""Superclass of each class of CIFAR-100, in the order of the class numbers, from its files."""


def test_map_of_cifar10() -> None:
    numbers = {CIFAR10.index(k): CIFAR10.index(v) for k, v in USUAL_MAPS["cifar10"].items()}
    assert numbers == {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}


def test_map_of_mnist() -> None:
    assert dict(USUAL_MAPS["mnist"]) == {"2": "7", "3": "8", "5": "6", "6": "5", "7": "1"}


def test_map_of_cifar100_is_the_next_class_of_the_superclass() -> None:
    names = sorted(USUAL_MAPS["cifar100"])  # classes are numbered in alphabetical order
    coarse = [int(number) for number in COARSE.split()]
    assert len(names) == len(coarse) == 100
    for k, name in enumerate(names):
        own = [other for other in range(100) if coarse[other] == coarse[k]]
        following = own[(own.index(k) + 1) % 5]
        assert USUAL_MAPS["cifar100"][name] == names[following]
