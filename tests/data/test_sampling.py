from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.model_selection import train_test_split
from torch import Generator

from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.data.images import normaliser
from lossbench.data.sampling import (
    count_of_share,
    draw_loses_class,
    epoch_order,
    split_into_batches,
    split_off,
    steps_per_epoch,
    stratified_subset,
)


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def test_mirror_flips_about_half_and_only_flips() -> None:
    images = torch.randint(0, 256, (400, 3, 5, 4), dtype=torch.uint8)
    out = AUGMENTATIONS["mirror"].create(None)(images, generator())
    flipped = (out == images.flip(3)).all(dim=(1, 2, 3))
    kept = (out == images).all(dim=(1, 2, 3))
    assert bool((flipped | kept).all())
    assert 150 < int(flipped.sum()) < 250


def test_random_crop_agrees_with_a_loop() -> None:
    images = torch.randint(1, 256, (50, 3, 6, 5), dtype=torch.uint8)
    out = AUGMENTATIONS["random_crop"].create(None, padding=2)(images, generator(3))
    top, left = torch.randint(5, (2, 50), generator=generator(3)).tolist()
    for i in range(50):
        padded = torch.zeros(3, 10, 9, dtype=torch.uint8)
        padded[:, 2:8, 2:7] = images[i]
        assert torch.equal(out[i], padded[:, top[i] : top[i] + 6, left[i] : left[i] + 5])
    assert len(set(zip(top, left, strict=True))) > 15


def test_normaliser_per_channel() -> None:
    images = torch.full((1, 2, 1, 1), 100, dtype=torch.uint8)
    scaled = normaliser([50.0, 0.0], [10.0, 200.0], torch.device("cpu"))(images)
    assert scaled.flatten().tolist() == [5.0, 0.5]


@pytest.mark.parametrize("group", [None, 1, 4, 7])
def test_epoch_has_every_image_once(group: int | None) -> None:
    labels = torch.randint(0, 5, (103,))
    order = epoch_order(labels, group, generator())
    assert sorted(order.tolist()) == list(range(103))
    assert not torch.equal(order, epoch_order(labels, group, generator(1)))
    assert torch.equal(order, epoch_order(labels, group, generator()))


def test_groups_have_images_of_one_class() -> None:
    labels = torch.arange(100) % 5  # 20 a class: five groups of four each
    order = epoch_order(labels, 4, generator())
    groups = labels[order].reshape(25, 4)
    assert bool((groups == groups[:, :1]).all())
    assert len(set(groups[:5, 0].tolist())) > 1


@pytest.mark.parametrize(
    ("count", "size"), [(10, 4), (12, 4), (13, 4), (1, 4), (5, 4), (3, 4), (129, 64)]
)
def test_batches_cover_all_images_and_have_at_least_two(count: int, size: int) -> None:
    pieces = list(split_into_batches(torch.arange(count), size))
    assert torch.cat(pieces).tolist() == list(range(count))
    assert len(pieces) == steps_per_epoch(count, size)
    assert count == 1 or min(map(len, pieces)) > 1


def test_split_is_stratified_and_deterministic() -> None:
    labels = np.repeat(np.arange(4), [40, 30, 20, 10]).astype(np.int64)
    rest, part = split_off(labels, 0.2)
    assert sorted([*rest, *part]) == list(range(100))
    assert np.bincount(labels[part]).tolist() == [8, 6, 4, 2]
    assert np.array_equal(part, split_off(labels, 0.2)[1])
    assert np.bincount(labels[stratified_subset(labels, 50)]).tolist() == [20, 15, 10, 5]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (0.001, "0.001 of 600 images holds out 1, fewer than the 10 classes"),
        (0.99, "0.99 of 600 images leaves 6, fewer than the 10 classes"),
        (700, "700 of 600 images leaves 0, fewer than the 10 classes"),
    ],
)
def test_message_on_a_part_too_small_has_the_numbers(part: float | int, expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{expected}$"):
        split_off(np.arange(600) % 10, part)


def test_class_with_one_image_is_not_split() -> None:
    labels = np.repeat([0, 3, 5], [20, 1, 20])
    with pytest.raises(ValueError, match=r"^class 3 has only one image; both parts need one$"):
        split_off(labels, 0.5)


def test_impossible_subset_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than the 10 classes"):
        stratified_subset(np.arange(10).repeat(2).astype(np.int64), 5)


@pytest.mark.parametrize("share", ["0.05", "0.07", "0.1", "0.14", "0.2", "0.28", "0.55", "0.9"])
def test_share_of_images_is_exact_and_rounded_up(share: str) -> None:
    for count in range(10, 3000):
        assert count_of_share(float(share), count) == math.ceil(Fraction(share) * count)


def test_seven_hundredths_of_a_hundred_images_are_seven() -> None:
    rest, part = split_off(np.arange(100) % 2, 0.07)
    assert (len(rest), len(part)) == (93, 7)


@pytest.mark.parametrize("share", [0.1, 0.1666666666, 0.2, 1 / 3])
def test_split_by_share_equals_that_of_sklearn(share: float) -> None:
    labels = np.random.default_rng(0).integers(0, 5, 600)
    expected = train_test_split(np.arange(600), test_size=share, random_state=0, stratify=labels)
    for own, other in zip(split_off(labels, share), expected, strict=True):
        assert own.tolist() == sorted(other)


RARE = [
    ([500, 498, 2], 20),
    ([500, 498, 1], 20),
    ([997, 1, 1, 1], 4),
    ([997, 1, 1, 1], 5),
    ([997, 1, 1, 1], 999),
    ([2] * 30 + [940], 40),
    ([3, 3, 3], 8),
]


@pytest.mark.parametrize(("counts", "size"), RARE)
def test_subset_has_every_class(counts: list[int], size: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    chosen = stratified_subset(labels, size)
    assert len(set(chosen.tolist())) == len(chosen) == size
    assert chosen.tolist() == sorted(chosen)
    drawn = np.bincount(labels[chosen], minlength=len(counts))
    assert drawn.min() >= 1
    assert all(n <= available for n, available in zip(drawn, counts, strict=True))
    share = size * np.array(counts) / len(labels)
    common = share >= 2  # the places of rare classes are taken from them
    assert (np.abs(drawn - share)[common] <= len(counts)).all()
    assert np.array_equal(chosen, stratified_subset(labels, size))


@pytest.mark.parametrize("counts", [[500, 498, 2], [50, 2, 2, 2], [2, 2], [400, 400, 3, 3]])
@pytest.mark.parametrize("part", [0.01, 0.05, 0.2, 0.5, 0.9, 0.99])
def test_both_parts_of_a_split_have_every_class(counts: list[int], part: float) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    number = count_of_share(part, len(labels))
    if not len(counts) <= number <= len(labels) - len(counts):
        with pytest.raises(ValueError, match=f"fewer than the {len(counts)} classes"):
            split_off(labels, part)
        return
    rest, off = split_off(labels, part)
    assert len(off) == number
    assert sorted([*rest, *off]) == list(range(len(labels)))
    for side in (rest, off):
        assert set(labels[side]) == set(labels)


def test_draw_with_every_class_is_the_plain_one() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [50, 30, 20]))
    for number in range(10, 90, 7):
        _, plain = train_test_split(
            np.arange(100), test_size=number, random_state=0, stratify=labels
        )
        assert not draw_loses_class(labels, number, in_rest=True)
        assert stratified_subset(labels, number).tolist() == sorted(plain)
        assert split_off(labels, number)[1].tolist() == sorted(plain)


def test_message_names_a_class_with_one_image() -> None:
    labels = np.repeat([0, 1], [20, 1])
    with pytest.raises(ValueError, match="class tools has only one image"):
        split_off(labels, 0.5, ["cars", "tools"])
