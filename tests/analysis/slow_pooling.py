"""The pooled spread of a table with loops and bisection, to compare the fast version with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance

import numpy as np
from scipy import stats
from scipy.special import digamma, polygamma

INFINITE = 1e6


def least_squares(values: np.ndarray) -> tuple[list[float], list[float]]:
    """Squared residuals of value = row + seed and sum of 1 - leverage, from the hat matrix."""
    places = [(r, s) for r, s in np.ndindex(values.shape) if math.isfinite(values[r, s])]
    design = np.zeros((len(places), sum(values.shape)))
    for i, (r, s) in enumerate(places):
        design[i, r] = design[i, values.shape[0] + s] = 1
    hat = design @ np.linalg.pinv(design, rcond=1e-10)
    y = np.array([values[place] for place in places])
    residuals = y - hat @ y
    squares, freedom = [0.0] * values.shape[0], [0.0] * values.shape[0]
    for i, (r, _) in enumerate(places):
        squares[r] += residuals[i] ** 2
        freedom[r] += 1 - hat[i, i]
    return squares, freedom


def solve_trigamma(value: float) -> float:
    """x with trigamma(x) = value, by bisection on a logarithmic scale."""
    low, high = 1e-8, 1e12
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if polygamma(1, middle) > value else (low, middle)
    return low


def prior_of(variances: Sequence[float], df: Sequence[float]) -> tuple[float, float]:
    """Common variance and its degrees of freedom (Smyth 2004)."""
    if len(variances) < 2:
        return 0.0, 0.0
    logs = [
        math.log(v) - digamma(d / 2) + math.log(d / 2) for v, d in zip(variances, df, strict=True)
    ]
    scatter = variance(logs) - fmean(float(polygamma(1, d / 2)) for d in df)
    if scatter < 1e-6:
        total = sum(v * d for v, d in zip(variances, df, strict=True))
        return total / sum(df), INFINITE
    half = solve_trigamma(scatter)
    common = math.exp(fmean(logs) + float(digamma(half)) - math.log(half))
    return common, min(2 * half, INFINITE)


def moderate(
    variances: Sequence[float], df: Sequence[float], caps: Sequence[float], used: Sequence[bool]
) -> tuple[list[float], list[float]]:
    inside = [i for i, use in enumerate(used) if use]
    common, prior_df = prior_of([variances[i] for i in inside], [df[i] for i in inside])
    values, total = [], []
    for v, d, cap in zip(variances, df, caps, strict=True):
        d0 = min(prior_df, cap)
        values.append((d0 * common + d * v) / (d0 + d))
        total.append(d0 + d)
    return values, total


def pool(v: np.ndarray, df: np.ndarray, caps: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Pooled variances (C, R) and their degrees of freedom; every cell has a variance."""
    columns, rows = v.shape
    every = [True] * rows
    row_df = [sum(df[c, r] for c in range(columns)) for r in range(rows)]
    ratios = [1.0] * rows

    def row_ratios(scales: Sequence[float]) -> list[float]:
        return [
            sum(df[c, r] * v[c, r] / scales[c] for c in range(columns)) / row_df[r]
            for r in range(rows)
        ]

    for _ in range(4 if columns > 1 else 1):
        scales = [
            sum(df[c, r] * v[c, r] / ratios[r] for r in range(rows)) / sum(df[c])
            for c in range(columns)
        ]
        own = row_ratios(scales)
        moderated, _ = moderate(own, row_df, caps, every)
        ratios = [m / fmean(moderated) for m in moderated]
    flagged = []
    for r in range(rows):
        others = [i for i in range(rows) if i != r]
        other_df = sum(row_df[i] for i in others)
        common = sum(row_df[i] * own[i] for i in others) / other_df
        p = stats.f.sf(own[r] / common, row_df[r], other_df)
        flagged.append(rows > 2 and p < 0.05 / rows)
    inside = [not flag for flag in flagged]
    if any(flagged):
        scales = [
            sum(df[c, r] * v[c, r] for r in range(rows) if inside[r])
            / sum(df[c, r] for r in range(rows) if inside[r])
            for c in range(columns)
        ]
        own = row_ratios(scales)
    moderated, moderated_df = moderate(own, row_df, caps, inside)
    ratios = [own[r] if flagged[r] else max(own[r], moderated[r]) for r in range(rows)]
    ratio_df = [row_df[r] if flagged[r] else moderated_df[r] for r in range(rows)]
    share = min(1.0, (rows - 2) / 6)
    column_df = [float(sum(df[c])) for c in range(columns)]
    of_columns, _ = moderate(scales, column_df, [share * d for d in column_df], [True] * columns)
    values, total = np.zeros(v.shape), np.zeros(v.shape)
    for c in range(columns):
        for r in range(rows):
            values[c, r] = max(of_columns[c], scales[c]) * ratios[r]
            total[c, r] = ratio_df[r]
    prior_df = INFINITE
    if columns > 1 and rows > 1:  # residuals of log variance = column + row, a full table
        logs = np.log(v) - digamma(df / 2) + np.log(df / 2)
        rest = logs - logs.mean(0) - logs.mean(1, keepdims=True) + logs.mean()
        scatter = (rest**2).sum() / ((columns - 1) * (rows - 1)) - polygamma(1, df / 2).mean()
        if scatter >= 1e-6:
            prior_df = min(2 * solve_trigamma(scatter), INFINITE)
    for c in range(columns):
        for r in range(rows):
            if prior_df < INFINITE:
                weight = prior_df + df[c, r]
                values[c, r] = (prior_df * values[c, r] + df[c, r] * v[c, r]) / weight
                total[c, r] = min(total[c, r], weight)
            values[c, r] += 0.75 * max(0.0, v[c, r] - values[c, r])
    return values, total
