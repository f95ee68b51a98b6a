"""Uncertainty from the finite test set, computed from stored predictions without retraining."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, chdtri

from lossbench.analysis.statistics import LEVEL, Interval
from lossbench.planning.selection import Stage

Arrays = Mapping[str, NDArray[Any]]
ReadArrays = Callable[[str, str], Arrays | None]
"""(trial identity, artifact name) -> its arrays, or None where there are none."""
RESAMPLES = 2000
PERCENT = 100.0
CellKey = tuple[str, str]
"""(variant, row label)."""
Wrong = Mapping[int, NDArray[np.bool_]]
"""Seed -> (N,), true for each test image that was misclassified."""


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of two trained networks on the same images.

    Attributes:
        seed: Seed of both networks.
        row_wrong: Number of images that only the row's network misclassifies.
        reference_wrong: Number of images that only the reference's network misclassifies.
        p: Two-sided p.
    """

    seed: int
    row_wrong: int
    reference_wrong: int
    p: float


@dataclass(frozen=True)
class SeedSpread:
    """The standard deviation of a cell's error between seeds, and the part from the test set.

    Attributes:
        std: Standard deviation between seeds, in percent of images.
        test_set: Part that would vanish with infinitely many test images; std² is its square plus
            the variance between trainings.
        share: test_set² / std², at most 1.
        interval: 95 % interval of the share.
    """

    std: float
    test_set: float
    share: float
    interval: Interval


@dataclass(frozen=True)
class CellPredictions:
    """Errors of one cell, over the seeds whose predictions are stored.

    Attributes:
        variant: Name of the column.
        row: Label of the row.
        seeds: Number of seeds.
        images: Number of test images of the column, N.
        error: Mean error, in percent of images.
        interval: 95 % interval of the mean over resampled images; None if all images have the
            same share of errors.
        difference: Row minus reference over the matched seeds, in percentage points; None for the
            reference itself.
        difference_interval: 95 % interval of the difference over resampled images.
        mcnemar: Tests against the reference, one per matched seed.
        spread: Spread between seeds; None with one seed, or if all seeds have the same error.
    """

    variant: str
    row: str
    seeds: int
    images: int
    error: float
    interval: Interval | None
    difference: float | None
    difference_interval: Interval | None
    mcnemar: tuple[McNemar, ...]
    spread: SeedSpread | None


@dataclass(frozen=True)
class PredictionAnalysis:
    """Predictions of all cells of a suite on its test set.

    Attributes:
        listed: Cells in the table's order.
    """

    listed: tuple[CellPredictions, ...]

    @property
    def images(self) -> int | None:
        """Number of test images; None if it differs between columns."""
        numbers = {cell.images for cell in self.listed}
        return numbers.pop() if len(numbers) == 1 else None


def analyze_predictions(
    stage: Stage, reference: str | None, read: ReadArrays
) -> PredictionAnalysis | None:
    """Analyze the stored predictions of every cell on the test set.

    Args:
        stage: Trials that were measured on the test set; those of a column have the same images
            in the same order.
        reference: Reference row as named in the suite.
        read: (identity, name) -> a trial's arrays, or None; those of `predictions` are labels
            (N,) and predicted (N,).

    Returns:
        None if no trial has stored predictions.
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
    of_mean, of_gap = _intervals(means, gaps)
    listed = []
    for key, seeds in wrong.items():
        gap = gaps.get(key)
        against = wrong[key[0], labels[key[0]]] if gap is not None else {}
        cell = CellPredictions(
            variant=key[0],
            row=key[1],
            seeds=len(seeds),
            images=len(means[key]),
            error=PERCENT * float(means[key].mean()),
            interval=of_mean[key],
            difference=None if gap is None else PERCENT * float(gap.mean()),
            difference_interval=of_gap.get(key),
            mcnemar=tuple(mcnemar(s, seeds[s], against[s]) for s in seeds if s in against),
            spread=seed_spread(np.stack(list(seeds.values()))),
        )
        listed.append(cell)
    return PredictionAnalysis(tuple(listed))


def _intervals(
    means: Mapping[CellKey, NDArray[np.float64]], gaps: Mapping[CellKey, NDArray[np.float64]]
) -> tuple[dict[CellKey, Interval | None], dict[CellKey, Interval | None]]:
    """Intervals of means and differences; columns with equally many images share resamples."""
    of_mean: dict[CellKey, Interval | None] = {}
    of_gap: dict[CellKey, Interval | None] = {}
    for images in {len(values): None for values in means.values()}:
        own = [key for key, values in means.items() if len(values) == images]
        own_gaps = [key for key, values in gaps.items() if len(values) == images]
        values = [*(means[key] for key in own), *(gaps[key] for key in own_gaps)]
        intervals = image_intervals(np.stack(values, 1))
        of_mean |= zip(own, intervals, strict=False)
        of_gap |= zip(own_gaps, intervals[len(own) :], strict=True)
    return of_mean, of_gap


def _wrong(stage: Stage, key: tuple[str, str], read: ReadArrays) -> Wrong:
    found = {}
    for trial, _ in stage.finished(*key):
        arrays = read(trial.identity, "predictions")
        if arrays is not None:
            found[trial.seed] = arrays["predicted"] != arrays["labels"]
    return found


def mcnemar(seed: int, row: NDArray[np.bool_], reference: NDArray[np.bool_]) -> McNemar:
    """McNemar's exact test; null hypothesis: both networks are equally often the only one to err.

    Same as `scipy.stats.binomtest` to 11 digits, which is undefined without discordant images.

    Reference:
        Dietterich, Neural Computation 1998.
    """
    only_row, only_reference = int((row & ~reference).sum()), int((reference & ~row).sum())
    discordant = only_row + only_reference
    tail = float(bdtr(min(only_row, only_reference), discordant, 0.5))
    return McNemar(seed, only_row, only_reference, min(1.0, 2 * tail))


def image_intervals(columns: NDArray[np.float64]) -> list[Interval | None]:
    """Percentile bootstrap (95 %) of each column's mean over the images, in percent.

    All columns have the same resamples: 2,000 times N images, with replacement. Each
    resample is a vector of counts; `scipy.stats.bootstrap` would copy all N x C values.

    Args:
        columns: (N, C), each image's share of errors over seeds, or a difference of two shares.

    Returns:
        One interval per column; None if all its values are equal, so that resamples are, too.
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
    """Split the variance of the error between seeds into the parts of trainings and test set.

    Whether seed s misclassifies image i is x_si = m + a_s + b_i + g_si, where a_s is the effect of
    the training of s on infinitely many images, b_i the difficulty of the image for all seeds, and
    g_si the rest: the images on which this seed fails by chance. All seeds have the same N images,
    so b_i shifts all errors equally, and the variance between seeds, usually estimated by s², is

        Var(a) + Var(g) / N.

    The second term is the part from the test set: g_si averages out over more images. In the
    two-way layout (seeds x images, one observation each) the residual mean square

        sum_si (x_si - mean_s - mean_i + mean)² / ((S - 1) (N - 1))

    is an unbiased estimate of Var(g). Thousands of images make it precise, while s² has only S - 1
    degrees of freedom. The interval of the share is therefore that of s² from chi-square, which
    assumes normally distributed errors.

    Args:
        wrong: (S, N), whether each seed misclassifies each image.

    Returns:
        None with one seed or one image, or if all seeds have the same error.
    """
    seeds, images = wrong.shape
    if seeds < 2 or images < 2:
        return None
    x = wrong.astype(np.float64)
    of_seed, of_image = x.mean(1, keepdims=True), x.mean(0, keepdims=True)
    between = float(of_seed.var(ddof=1))
    if between < 1e-15:  # rounding
        return None
    residual = float(np.square(x - of_seed - of_image + x.mean()).sum())
    test_set = residual / ((seeds - 1) * (images - 1)) / images
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
