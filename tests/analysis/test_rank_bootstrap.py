"""Average ranks against slow loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lossbench.analysis.rank_bootstrap import Ranks, rank_rows
from lossbench.analysis.row_spread import estimate_spreads
from lossbench.analysis.statistics import Summary

NAN = math.nan


def cells_of(**columns: dict[str, list[float]]) -> dict[tuple[str, str], Summary]:
    """Summary of the values by seed; NaN marks a diverged seed."""
    found = {}
    for variant, rows in columns.items():
        for row, values in rows.items():
            there = {s: float(v) for s, v in enumerate(values) if v == v}
            diverged = len(values) - len(there)
            found[variant, row] = Summary(tuple(there.values()), diverged, 0, tuple(there))
    return found


def rank(cells: dict[tuple[str, str], Summary], higher: bool = False) -> Ranks:
    found = rank_rows(cells, list(dict.fromkeys(v for v, _ in cells)), higher)
    assert found is not None
    return found


def test_ranks_are_averaged_and_ties_share_theirs() -> None:
    cells = cells_of(
        A={"x": [1, 2], "y": [2, 1], "z": [3, 3]}, B={"x": [1, 1], "y": [2, 2], "z": [0, 0]}
    )
    by_row = {r.row: r for r in rank(cells).listed}
    assert by_row["x"].by_variant == {"A": 1.5, "B": 2}
    assert {row: r.mean for row, r in by_row.items()} == {"x": 1.75, "y": 2.25, "z": 2}
    assert [r.row for r in rank(cells).listed] == ["x", "z", "y"]
    assert {r.row: r.mean for r in rank(cells, higher=True).listed} == {
        "x": 2.25,
        "y": 1.75,
        "z": 2,
    }


def test_a_diverged_row_is_last_and_a_missing_one_left_out() -> None:
    cells = cells_of(
        A={"x": [1], "y": [NAN], "z": [NAN], "w": [1]}, B={"x": [1], "y": [2], "z": [3], "w": []}
    )
    ranks = rank(cells)
    assert {r.row: r.by_variant["A"] for r in ranks.listed} == {"x": 1, "y": 2.5, "z": 2.5}
    assert ranks.left_out == ("w",)
    assert all(r.interval is None for r in ranks.listed)  # one seed


def test_one_column_or_one_row_has_no_ranks() -> None:
    assert rank_rows(cells_of(A={"x": [1], "y": [2]}), ["A"], False) is None
    assert rank_rows(cells_of(A={"x": [1]}, B={"x": [1]}), ["A", "B"], False) is None


def test_the_interval_is_that_of_a_slow_loop() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(1, 1, (2, 4, 3))  # variants, rows, seeds
    columns = {v: {r: list(values[i, j]) for j, r in enumerate("wxyz")} for i, v in enumerate("AB")}
    cells = cells_of(**columns)
    pooled = estimate_spreads(cells, {}).pooled
    means: dict[str, list[float]] = {row: [] for row in "wxyz"}
    for _ in range(3000):
        places = dict.fromkeys("wxyz", 0.0)
        for i in range(2):
            level = {}
            for j, row in enumerate("wxyz"):
                df = min(pooled.df[i, j], pooled.column_df[i])
                error = math.sqrt(pooled.values[i, j] / 3)
                chi = rng.chisquare(df)  # Student's t is normal / sqrt(chi square / df)
                level[row] = values[i, j].mean() + error * rng.normal() / math.sqrt(chi / df)
            for row in level:
                places[row] += 1 + sum(other < level[row] for other in level.values())
        for row, place in places.items():
            means[row].append(place / 2)
    for found in rank(cells).listed:
        assert found.interval is not None
        expected = np.quantile(means[found.row], [0.025, 0.975])
        assert (found.interval.low, found.interval.high) == pytest.approx(expected, abs=0.5)
        assert found.interval.low <= found.mean <= found.interval.high


def test_intervals_cover_the_true_average_rank() -> None:
    """Six rows, two columns, three seeds with an effect of their own."""
    rng = np.random.default_rng(0)
    covered, tables = 0, 100
    for _ in range(tables):
        true = rng.standard_normal((2, 6))
        values = true[..., None] + rng.standard_normal((2, 1, 3)) + rng.standard_normal((2, 6, 3))
        cells = cells_of(
            **{v: {f"r{j}": list(values[i, j]) for j in range(6)} for i, v in enumerate("AB")}
        )
        expected = stats.rankdata(true, axis=1).mean(0)
        for found in rank(cells).listed:
            assert found.interval is not None
            target = expected[int(found.row[1:])]
            covered += found.interval.low <= target <= found.interval.high
    assert 0.92 <= covered / (6 * tables) <= 0.99  # 0.84 with a percentile bootstrap of the seeds


def test_the_effect_of_a_seed_changes_no_interval() -> None:
    rows = {"x": [1.0, 1.3, 1.1], "y": [1.2, 1.2, 1.5], "z": [2.0, 2.2, 2.1]}
    moved = {row: [value + 7 * seed for seed, value in enumerate(x)] for row, x in rows.items()}
    plain = {r.row: r.interval for r in rank(cells_of(A=rows, B=rows)).listed}
    for found in rank(cells_of(A=moved, B=moved)).listed:
        assert found.interval == plain[found.row]
