"""The spread of each cell between seeds, after the effect of the seed is removed.

All rows of a column are trained with the same seeds. A seed fixes the order of the images and the
initial weights of the network, so it shifts all rows of a column alike, and differences at the same
seed do not contain this shift.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lossbench.analysis.statistics import Summary
from lossbench.analysis.variance_pooling import Floats, PooledVariances, pool_variances

REFERENCE_MAX_PRIOR_DF = 4.0
"""Largest weight of the common spread in that of the reference row. The reference is part of
every comparison: if it were noisier than the others, undetected, all of them would be wrong."""
_ROUNDING = 1e-11  # of the values, which are quotients: equal residuals do not cancel exactly


@dataclass(frozen=True)
class DifferenceSpread:
    """The spread of the seed-matched difference of two rows of a column.

    Attributes:
        sd: Standard deviation of the difference at one seed, in the metric's unit.
        df: Degrees of freedom.
        own: Whether it is that of these two rows alone, because they vary far less than the pooled
            spread says.
    """

    sd: float
    df: float
    own: bool = False


@dataclass(frozen=True)
class RowSpreads:
    """Spread of the cells of a table.

    Attributes:
        variants: Names of the columns.
        rows: Labels of the rows.
        pooled: Pooled variances of the cells.
        row_counts: Number of rows with a known spread in each column.
    """

    variants: tuple[str, ...]
    rows: tuple[str, ...]
    pooled: PooledVariances
    row_counts: tuple[int, ...]

    def difference(self, variant: str, a: str, b: str) -> DifferenceSpread | None:
        """Spread of the difference of two rows of a column; None if it is unknown.

        The degrees of freedom are those of Welch and Satterthwaite, at most those of the column.
        Of these, half a row's are set aside, because a common spread says little about two rows
        if there are few others.
        """
        column = self.variants.index(variant)
        index = [self.rows.index(a), self.rows.index(b)]
        variances, df = self.pooled.values[column, index], self.pooled.df[column, index]
        if not (np.isfinite(variances) & (df > 0)).all():
            return None
        total = float(variances.sum())
        combined = total**2 / float((variances**2 / df).sum())
        rows = self.row_counts[column]
        of_column = float(self.pooled.column_df[column])
        if rows > 1:
            of_column *= max(1.0, rows - 1.5) / (rows - 1)
        return DifferenceSpread(math.sqrt(total), min(combined, of_column))

    @property
    def out_of_line(self) -> dict[str, float]:
        """Rows tested by their own spread -> standard deviation relative to the other rows'."""
        return {
            row: math.sqrt(float(self.pooled.ratios[i]))
            for i, row in enumerate(self.rows)
            if self.pooled.out_of_line[i]
        }


def estimate_spreads(
    cells: Mapping[tuple[str, str], Summary], references: Mapping[str, str]
) -> RowSpreads:
    """Spread of every cell of a table, pooled over the table.

    In each column, value = row + seed + residual is fitted by least squares. The variance of a
    cell is the sum of its squared residuals divided by their degrees of freedom (the sum of 1 -
    leverage, (n - 1)(R - 1) / R for R rows with n seeds each). `pool_variances` pools the cells.

    Args:
        cells: (variant, row label) -> results of the cell.
        references: Variant -> label of its reference row.
    """
    variants = tuple(dict.fromkeys(variant for variant, _ in cells))
    rows = tuple(dict.fromkeys(row for _, row in cells))
    variances, df = np.zeros((2, len(variants), len(rows)))
    for (variant, row), (variance, freedom) in _residual_variances(cells, variants).items():
        place = variants.index(variant), rows.index(row)
        variances[place], df[place] = variance, freedom
    caps = np.full(len(rows), np.inf)
    for row in references.values():
        caps[rows.index(row)] = REFERENCE_MAX_PRIOR_DF
    counts = tuple(int(n) for n in ((df > 0) & (variances > 0)).sum(1))
    return RowSpreads(variants, rows, pool_variances(variances, df, caps), counts)


def _residual_variances(
    cells: Mapping[tuple[str, str], Summary], variants: Sequence[str]
) -> dict[tuple[str, str], tuple[float, float]]:
    found = {}
    for variant in variants:
        rows = [row for v, row in cells if v == variant and cells[v, row].seeds]
        seeds = sorted({seed for row in rows for seed in cells[variant, row].seeds})
        if len(rows) < 2 or len(seeds) < 2:
            continue
        values = np.full((len(rows), len(seeds)), np.nan)  # (R, S)
        for i, row in enumerate(rows):
            for seed, value in cells[variant, row].by_seed.items():
                values[i, seeds.index(seed)] = value
        squares, df = residual_squares(values)
        for row, square, freedom in zip(rows, squares, df, strict=True):
            if freedom > 0:
                found[variant, row] = float(square / freedom), float(freedom)
    return found


def residual_squares(values: Floats) -> tuple[Floats, Floats]:
    """Sums of squared residuals of value = row + seed, and their degrees of freedom, by row.

    Args:
        values: (R, S) values of R rows with S seeds; NaN where a row lacks a seed.

    Returns:
        (R,) sums of squares, 0 if only rounding errors are left, and (R,) degrees of freedom.
    """
    there = np.isfinite(values)  # (R, S)
    n = there.sum(1, keepdims=True)  # (R, 1)
    share = there / np.maximum(n, 1)  # (R, S)
    filled = np.where(there, values, 0.0)
    centred = np.where(there, filled - (filled * share).sum(1, keepdims=True), 0.0)
    # normal equations of the seeds after the rows are eliminated
    matrix = np.diag(there.sum(0).astype(float)) - there.T.astype(float) @ share  # (S, S)
    # one eigenvalue is 0: a shift of all seeds is one of all rows; the others are near 1 or more
    inverse = np.linalg.pinv(matrix, rcond=1e-10, hermitian=True)
    effects = inverse @ centred.sum(0)  # (S,)
    shift = effects - (share * effects).sum(1, keepdims=True)
    residuals = np.where(there, centred - shift, 0.0)  # (R, S)
    contrasts = np.eye(there.shape[1]) - share[:, None, :]  # (R, S, S): one seed - the row's mean
    leverage = np.einsum("rsi,ij,rsj->rs", contrasts, inverse, contrasts) + share
    df = np.where(there, 1 - leverage, 0.0).sum(1)
    largest = np.abs(filled).max(initial=0.0)
    residuals[np.abs(residuals) <= _ROUNDING * largest] = 0.0
    return (residuals**2).sum(1), np.where(df > 1e-9, df, 0.0)
