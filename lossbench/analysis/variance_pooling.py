"""The spread between seeds of many small cells, pooled as far as the cells agree.

Three seeds give an imprecise estimate of a cell's own spread, and one estimate for all cells would
be wrong if some losses train steadily and others do not. So each variance is averaged with a
common one, more so the better the cells agree (empirical Bayes, as in limma). The cells are a
table: a row's spread is estimated over all columns, relative to the spread of each column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, fdtrc, polygamma, stdtrit

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

OUT_OF_LINE_LEVEL = 0.05
"""Level of the test that detects rows whose spread is larger than that of the others, divided by
the number of rows."""
_ROWS_FOR_COLUMNS = 6
"""Number of rows above two from which a column counts the other columns as much as itself."""
EXCESS = 0.75
"""Share of a cell's excess over its pooled variance that is added to it."""
_INFINITE_DF = 1e6
_NO_SCATTER = 1e-6  # of log variances, below which the cells count as equally spread
_ROUNDS = 4  # of the alternating estimates of the columns' and the rows' spread


@dataclass(frozen=True)
class Spread:
    """A standard deviation and its degrees of freedom.

    Attributes:
        sd: Standard deviation in the unit of the values, above 0.
        df: Degrees of freedom, above 0.
    """

    sd: float
    df: float

    def half_width(self, variance_factor: float, alpha: float) -> float:
        """Half the width of a two-sided t interval.

        Args:
            variance_factor: Variance of the estimate in units of the values' variance: 1/n for
                a mean, 1/n + 1/m for a difference of two.
            alpha: Probability, in (0, 1), that the interval misses the true value.
        """
        quantile = float(stdtrit(self.df, 1 - alpha / 2))
        return quantile * self.sd * math.sqrt(variance_factor)


@dataclass(frozen=True)
class SampleVariance:
    """The variance of one cell.

    Attributes:
        value: Variance; 0 if the values do not vary, or if there are no degrees of freedom.
        df: Degrees of freedom.
    """

    value: float
    df: float


def sample_variance(*groups: Sequence[float]) -> SampleVariance:
    """Variance around the mean of each group, pooled over the groups, with n - 1 each."""
    df = sum(len(group) - 1 for group in groups if group)
    if df == 0:
        return SampleVariance(0.0, 0)
    squares = sum(stdev(group) ** 2 * (len(group) - 1) for group in groups if len(group) > 1)
    return SampleVariance(squares / df, df)


@dataclass(frozen=True)
class PooledVariances:
    """Variances of the cells of a table, each pooled with those of the others.

    Attributes:
        values: (C, R) variances; NaN if unknown.
        df: (C, R) degrees of freedom of each, given the spread of its column.
        column_df: (C,) degrees of freedom of the spread of each column, which no test of the
            column can exceed.
        out_of_line: (R,) whether a row's spread is larger than that of the other rows by more
            than chance explains; it is not pooled with them.
        ratios: (R,) variance of a row relative to the mean of the rows, over all columns; NaN if
            unknown.
    """

    values: Floats
    df: Floats
    column_df: Floats
    out_of_line: Bools
    ratios: Floats


def pool_variances(
    variances: Floats,
    df: Floats,
    max_prior_df: Floats | None = None,
    *,
    out_of_line_level: float = OUT_OF_LINE_LEVEL,
    excess: float = EXCESS,
) -> PooledVariances:
    """Pool the variances of the cells of a table.

    1. The variance of a cell is modelled as (spread of the column) x (ratio of the row). Both are
       estimated from all cells, in turn (a gamma model with a log link).
    2. A row whose ratio is larger than that of the other rows (one-sided F test, 5 %, corrected
       for the number of rows) is out of line: it keeps its own ratio and degrees of freedom, and
       the others are pooled without it.
    3. The ratios of the other rows are moderated (see `moderate`); none falls below its own
       estimate.
    4. The spreads of the columns are moderated, too. A column counts the others at most as much
       as itself, and less with fewer than eight rows.
    5. If the cells scatter around this product by more than chance explains, each is moderated
       towards it by that much. A share of a cell's own excess is added, by default three
       quarters.

    A variance of exactly 0 happens by chance (equal error counts) and counts as unknown.

    Args:
        variances: (C, R) variances of the cells.
        df: (C, R) their degrees of freedom; 0 without a variance.
        max_prior_df: (R,) largest number of degrees of freedom of the common variance for each
            row; by default infinite.
        out_of_line_level: Level of the F test for rows out of line; 0 if no row is.
        excess: Share of a cell's excess over its pooled variance that is added, in [0, 1]; with 1
            no cell is below its own variance.
    """
    columns, rows = variances.shape
    known = (df > 0) & (variances > 0)
    caps = np.full(rows, _INFINITE_DF) if max_prior_df is None else max_prior_df
    weights = np.where(known, df, 0.0)  # (C, R)
    values = np.where(known, variances, 0.0)
    row_df, own_column_df = weights.sum(0), weights.sum(1)  # (R,), (C,)
    ratios = np.ones(rows)
    for _ in range(_ROUNDS if columns > 1 else 1):
        scales = _divide((weights * values / ratios).sum(1), own_column_df)  # (C,)
        own = _divide(np.nansum(weights * _divide(values, scales[:, None]), axis=0), row_df)  # (R,)
        ratios = _normalised(moderate(own, row_df, caps).values, row_df)
    flagged = _out_of_line(own, row_df, out_of_line_level)
    if flagged.any():
        inside = np.where(flagged, 0.0, weights)
        scales = _divide((inside * values).sum(1), inside.sum(1))
        own = _divide(np.nansum(weights * _divide(values, scales[:, None]), axis=0), row_df)
    common = moderate(own, np.where(flagged, 0.0, row_df), caps)
    ratios = np.where(flagged, own, np.fmax(common.values, own))  # (R,)
    ratio_df = np.where(flagged, row_df, common.df)
    share = np.clip((known.sum(1) - 2) / _ROWS_FOR_COLUMNS, 0.0, 1.0)  # (C,)
    of_columns = moderate(scales, own_column_df, share * own_column_df)
    pooled = np.fmax(of_columns.values, scales)[:, None] * ratios  # (C, R)
    pooled_df = np.broadcast_to(ratio_df, pooled.shape)
    cell_df = _cell_prior_df(variances, df, known)
    if cell_df < _INFINITE_DF:
        moderated = _divide(cell_df * pooled + weights * values, cell_df + weights)
        pooled = np.where(known, moderated, pooled)
        pooled_df = np.minimum(pooled_df, cell_df + weights)
    pooled = pooled + excess * np.where(known, np.maximum(values - pooled, 0.0), 0.0)
    whole = np.minimum(of_columns.df, own_column_df.sum())  # (C,)
    usable = (pooled > 0) & (pooled_df > 0)
    return PooledVariances(
        values=np.where(usable, pooled, np.nan),
        df=np.where(usable, pooled_df, 0.0),
        column_df=whole,
        out_of_line=flagged,
        ratios=own,
    )


def pool_spreads(
    cells: Mapping[tuple[str, str], SampleVariance], max_prior_df: float = math.inf
) -> dict[tuple[str, str], Spread | None]:
    """Spread of each cell of a table, pooled with those of the others but never below its own.

    See `pool_variances`. No row is out of line, and the whole excess of a cell is added: the
    values of a cell are compared with others of the same cell, so that a cell with a large spread
    is not a noisy reference of all the others, but would raise false alarms itself.

    Args:
        cells: (column, row) -> variance of the cell.
        max_prior_df: Largest number of degrees of freedom of the rows' common variance.

    Returns:
        One spread per cell; None if it is unknown.
    """
    columns = list(dict.fromkeys(column for column, _ in cells))
    rows = list(dict.fromkeys(row for _, row in cells))
    variances, df = np.zeros((2, len(columns), len(rows)))
    for (column, row), cell in cells.items():
        place = columns.index(column), rows.index(row)
        variances[place], df[place] = cell.value, cell.df
    pooled = pool_variances(
        variances, df, np.full(len(rows), max_prior_df), out_of_line_level=0.0, excess=1.0
    )
    spreads: dict[tuple[str, str], Spread | None] = {}
    for column, row in cells:
        c, r = columns.index(column), rows.index(row)
        value, freedom = float(pooled.values[c, r]), float(pooled.df[c, r])
        usable = value > 0 and freedom > 0
        freedom = min(freedom, float(pooled.column_df[c]))
        spreads[column, row] = Spread(math.sqrt(value), freedom) if usable else None
    return spreads


@dataclass(frozen=True)
class Moderated:
    """Variances averaged with a common one.

    Attributes:
        values: (K,) variances; NaN if unknown.
        df: (K,) degrees of freedom of each.
    """

    values: Floats
    df: Floats


def moderate(variances: Floats, df: Floats, max_prior_df: Floats) -> Moderated:
    """Average each variance with a common one: (d0 s0^2 + d s^2) / (d0 + d), with d0 + d df.

    s0^2 and d0 are estimated from the variances: d0 is infinite if they scatter no more than by
    chance (the result is then the pooled variance), and small if they differ.

    Args:
        variances: (K,) variances.
        df: (K,) their degrees of freedom d; 0 for those that are unknown or left out.
        max_prior_df: (K,) largest d0.

    Reference:
        Smyth, Statistical Applications in Genetics and Molecular Biology 2004, Sect. 6.2.
    """
    known = (df > 0) & (variances > 0)
    if not known.any():
        return Moderated(np.full(df.shape, np.nan), np.zeros(df.shape))
    s, d = variances[known], df[known]
    prior, prior_df = 0.0, 0.0  # without another cell
    if len(s) > 1:
        logs = np.log(s) - digamma(d / 2) + np.log(d / 2)
        scatter = float(logs.var(ddof=1) - polygamma(1, d / 2).mean())
        if scatter < _NO_SCATTER:
            prior, prior_df = float((d * s).sum() / d.sum()), _INFINITE_DF
        else:
            half = _inverse_trigamma(scatter)
            prior = math.exp(float(logs.mean()) + float(digamma(half)) - math.log(half))
            prior_df = min(2 * half, _INFINITE_DF)
    d0 = np.minimum(prior_df, max_prior_df)  # (K,)
    own, own_df = np.where(known, variances, 0.0), np.where(known, df, 0.0)
    total = d0 + own_df
    return Moderated(_divide(d0 * prior + own_df * own, total), total)


def _divide(a: Floats, b: Floats) -> Floats:
    """a / b; NaN where b is 0 or unknown."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(b > 0, a / np.where(b > 0, b, 1.0), np.nan))


def _normalised(ratios: Floats, df: Floats) -> Floats:
    """Ratios with mean 1; unknown ones are 1."""
    known = (df > 0) & (ratios > 0)
    if not known.any():
        return np.ones(ratios.shape)
    return np.where(known, ratios / ratios[known].mean(), 1.0)


def _out_of_line(ratios: Floats, df: Floats, level: float) -> Bools:
    """Rows whose variance exceeds the pooled one of all other rows by more than chance explains."""
    known = (df > 0) & (ratios > 0)
    squares = np.where(known, df * ratios, 0.0)
    own_df = np.where(known, df, 0.0)
    other_df = own_df.sum() - own_df
    p = fdtrc(own_df, other_df, _divide(ratios, _divide(squares.sum() - squares, other_df)))
    if known.sum() < 3:  # of two rows, neither is known to be the one out of line
        return np.zeros(ratios.shape, bool)
    return np.asarray(known & (p < level / known.sum()))


def _cell_prior_df(variances: Floats, df: Floats, known: Bools) -> float:
    """Degrees of freedom of (column x row) as a prior of its cells; infinite if they agree."""
    column, row = np.nonzero(known)
    parts = [
        np.arange(size) == index[:, None]
        for size, index in zip(variances.shape, (column, row), strict=True)
    ]
    design = np.concatenate(parts, axis=1).astype(float)  # (K, C + R)
    free = len(column) - np.linalg.matrix_rank(design) if len(column) else 0
    if free <= 0 or min(len(set(column.tolist())), len(set(row.tolist()))) < 2:
        return _INFINITE_DF
    d = df[known]
    logs = np.log(variances[known]) - digamma(d / 2) + np.log(d / 2)
    rest = logs - design @ np.linalg.lstsq(design, logs, rcond=None)[0]
    scatter = float((rest**2).sum() / free - polygamma(1, d / 2).mean())
    if scatter < _NO_SCATTER:
        return _INFINITE_DF
    return min(2 * _inverse_trigamma(scatter), _INFINITE_DF)


def _inverse_trigamma(value: float) -> float:
    """x > 0 with trigamma(x) = value > 0, by Newton's method on 1 / trigamma (Smyth 2004).

    1 / trigamma is convex, so the steps fall to the solution from the first point above it.
    `scipy.optimize` would take half a second to import.
    """
    x, step = 0.5 + 1 / value, math.inf
    while abs(step) > 1e-12 * x:  # the next one would be below rounding
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
    return x
