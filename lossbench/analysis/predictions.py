"""What the stored test predictions tell without any retraining: how much is the test set's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, chdtri

from lossbench.analysis.statistics import ALPHA, LEVEL, Interval
from lossbench.planning.selection import Stage

Arrays = Mapping[str, NDArray[Any]]
ReadArrays = Callable[[str, str], Arrays | None]
"""(trial identity, artifact name) -> its arrays, or None where there are none."""
RESAMPLES = 2000
PERCENT = 100.0
Wrong = Mapping[int, NDArray[np.bool_]]
"""Seed -> (N,), whether each test image was classified wrongly."""


@dataclass(frozen=True)
class McNemar:
    """Two trained networks of one seed on the same images.

    Attributes:
        seed: Of both.
        row_wrong: Images that only the row's network got wrong.
        reference_wrong: Images that only the reference's network got wrong.
        p: Exact, two-sided.
    """

    seed: int
    row_wrong: int
    reference_wrong: int
    p: float


@dataclass(frozen=True)
class SeedSpread:
    """The standard deviation of a cell's error between seeds, and the test set's part in it.

    Attributes:
        std: Between seeds, in percent of images.
        test_set: The part that would vanish with endless test images; std² is this squared plus
            what the trainings differ by.
        share: test_set² / std², at most 1.
        interval: 95 % of the share.
    """

    std: float
    test_set: float
    share: float
    interval: Interval


@dataclass(frozen=True)
class Examined:
    """One cell, over the seeds whose predictions are stored.

    Attributes:
        variant: The column.
        row: Its label.
        seeds: How many.
        error: Mean, in percent of images.
        interval: 95 % of the mean, over resampled images; None where all images fare alike.
        difference: Row minus reference over the matched seeds, in percentage points; None for the
            reference itself.
        difference_interval: Likewise over resampled images.
        mcnemar: Against the reference, one a matched seed.
        spread: None with one seed, or where all seeds err equally often.
    """

    variant: str
    row: str
    seeds: int
    error: float
    interval: Interval | None
    difference: float | None
    difference_interval: Interval | None
    mcnemar: tuple[McNemar, ...]
    spread: SeedSpread | None

    @property
    def mcnemar_text(self) -> str:
        """`2 better, 0 worse`: the seeds with p < 0.05."""
        found = [test for test in self.mcnemar if test.p < ALPHA]
        better = sum(test.row_wrong < test.reference_wrong for test in found)
        return f"{better} better, {len(found) - better} worse"

    @property
    def mcnemar_seeds(self) -> str:
        return "1 seed" if len(self.mcnemar) == 1 else f"{len(self.mcnemar)} seeds"


@dataclass(frozen=True)
class TestSet:
    """All cells of a suite on its test set.

    Attributes:
        images: Number of test images, N.
        listed: In the table's order.
    """

    __test__ = False  # pytest would take it for a test

    images: int
    listed: tuple[Examined, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """How the numbers came about."""
        return (
            f"95 % over images: {RESAMPLES:,} resamples of the {self.images:,} test images, the "
            "same for all rows and seeds, with the seeds as they are. It says how far other images "
            "of this kind would move these trained networks, and nothing of other seeds.",
            f"McNemar: seeds with p < {ALPHA:g} in the exact test of two networks on the same "
            "images, uncorrected. Counted and not combined: seeds share their images, so their p "
            "are not independent.",
            "Spread from the test set: the part of the standard deviation between seeds that "
            "would vanish with endless test images, and its share of the variance (with 95 % "
            "interval). Where the part exceeds the whole, the measured spread is small by luck, "
            "and all of it may be the test set's.",
        )


def examine(stage: Stage, reference: str | None, read: ReadArrays) -> TestSet | None:
    """Examine every cell of the test set.

    Args:
        stage: The trials that were measured on the test set; they have the same test images in
            the same order.
        reference: As the suite names it.
        read: (identity, name) -> a trial's arrays, of which `predictions` has labels (N,) and
            predicted (N,), or None.

    Returns:
        None where no trial has stored predictions.
    """
    wrong = {key: _wrong(stage, key, read) for key in stage.cells}
    wrong = {key: seeds for key, seeds in wrong.items() if seeds}
    if not wrong:
        return None
    labels = stage.reference_labels(reference)
    means, gaps = {}, {}  # (N,) each
    for (variant, row), seeds in wrong.items():
        means[variant, row] = np.mean(list(seeds.values()), 0)
        against = wrong.get((variant, labels.get(variant, "")), {})
        both = [seed for seed in seeds if seed in against]
        if both and row != labels[variant]:
            gaps[variant, row] = np.mean([1.0 * seeds[s] - against[s] for s in both], 0)
    intervals = image_intervals(np.stack([*means.values(), *gaps.values()], 1))
    of_mean = dict(zip(means, intervals, strict=False))
    of_gap = dict(zip(gaps, intervals[len(means) :], strict=True))
    listed = []
    for key, seeds in wrong.items():
        gap = gaps.get(key)
        against = wrong[key[0], labels[key[0]]] if gap is not None else {}
        examined = Examined(
            variant=key[0],
            row=key[1],
            seeds=len(seeds),
            error=PERCENT * float(means[key].mean()),
            interval=of_mean[key],
            difference=None if gap is None else PERCENT * float(gap.mean()),
            difference_interval=of_gap.get(key),
            mcnemar=tuple(mcnemar(s, seeds[s], against[s]) for s in seeds if s in against),
            spread=seed_spread(np.stack(list(seeds.values()))),
        )
        listed.append(examined)
    return TestSet(len(next(iter(means.values()))), tuple(listed))


def _wrong(stage: Stage, key: tuple[str, str], read: ReadArrays) -> Wrong:
    found = {}
    for trial, _ in stage.finished(*key):
        arrays = read(trial.identity, "predictions")
        if arrays is not None:
            found[trial.seed] = arrays["predicted"] != arrays["labels"]
    return found


def mcnemar(seed: int, row: NDArray[np.bool_], reference: NDArray[np.bool_]) -> McNemar:
    """McNemar's exact test: which of two networks errs where just one does is a fair coin.

    Reference:
        Dietterich, Neural Computation 1998.
    """
    only_row, only_reference = int((row & ~reference).sum()), int((reference & ~row).sum())
    discordant = only_row + only_reference
    tail = float(bdtr(min(only_row, only_reference), discordant, 0.5))
    return McNemar(seed, only_row, only_reference, min(1.0, 2 * tail))


def image_intervals(columns: NDArray[np.float64]) -> list[Interval | None]:
    """Percentile bootstrap (95 %) of each column's mean over the images, in percent.

    All columns see the same resamples: 2,000 times N images, with replacement.

    Args:
        columns: (N, C), each image's share of wrong answers, or a difference of such shares.

    Returns:
        One a column; None where all images are alike, which resampling cannot vary.
    """
    random, n = np.random.default_rng(0), len(columns)
    means = np.empty((RESAMPLES, columns.shape[1]))
    for index in range(RESAMPLES):
        counts = np.bincount(random.integers(0, n, n), minlength=n)  # (N,)
        means[index] = counts @ columns / n
    tail = (1 - LEVEL) / 2
    low, high = PERCENT * np.quantile(means, [tail, 1 - tail], axis=0)  # (C,) each
    alike = (columns == columns[0]).all(0)
    return [
        None if same else Interval(float(a), float(b))
        for same, a, b in zip(alike, low, high, strict=True)
    ]


def seed_spread(wrong: NDArray[np.bool_]) -> SeedSpread | None:
    """Split the variance of the error between seeds into the trainings' and the test set's part.

    Seed s answers image i wrongly or not: x_si = m + a_s + b_i + g_si, with a_s how much worse
    the training of s is on endless images, b_i how hard the image is for all seeds, and g_si the
    rest: which images it is that this seed happens to fail on. All seeds see the same N images,
    so b_i moves all errors alike and the variance between seeds, of which s² is the usual
    estimate, is

        Var(a) + Var(g) / N.

    The second term is the test set's: g_si averages out over more images. In the two-way layout
    (seeds x images, one answer each) the residual mean square

        sum_si (x_si - mean_s - mean_i + mean)² / ((S - 1) (N - 1))

    is an unbiased estimate of Var(g); thousands of images make it precise, while s² has S - 1
    degrees of freedom only. Hence the interval of the share: that of s² from chi-square, which
    takes the errors' spread for normal.

    Args:
        wrong: (S, N), whether each seed failed on each image.

    Returns:
        None with one seed or one image, or where all seeds err equally often.
    """
    seeds, images = wrong.shape
    if seeds < 2 or images < 2:
        return None
    x = wrong.astype(np.float64)
    of_seed, of_image = x.mean(1, keepdims=True), x.mean(0, keepdims=True)
    between = float(of_seed.var(ddof=1))
    if between < 1e-15:  # rounding
        return None
    rest = float(np.square(x - of_seed - of_image + x.mean()).sum())
    test_set = rest / ((seeds - 1) * (images - 1)) / images
    tail, freedom = (1 - LEVEL) / 2, seeds - 1
    low, high = (
        test_set / between * float(chdtri(freedom, above)) / freedom for above in (1 - tail, tail)
    )
    return SeedSpread(
        std=PERCENT * math.sqrt(between),
        test_set=PERCENT * math.sqrt(test_set),
        share=min(1.0, test_set / between),
        interval=Interval(min(1.0, low), min(1.0, high)),
    )
