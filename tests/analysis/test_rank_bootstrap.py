"""Average ranks against slow loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lossbench.analysis.rank_bootstrap import Ranks, rank_rows
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


def test_the_interval_is_that_of_all_resamples() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(1, 1, (2, 4, 2))  # variants, rows, seeds
    columns = {v: {r: list(values[i, j]) for j, r in enumerate("wxyz")} for i, v in enumerate("AB")}
    draws = list(itertools.product(range(2), repeat=2))
    means = {row: [] for row in "wxyz"}
    for first, second in itertools.product(draws, draws):  # each column draws its own seeds
        places = dict.fromkeys("wxyz", 0.0)
        for i, drawn in enumerate((first, second)):
            level = {row: values[i, j, list(drawn)].mean() for j, row in enumerate("wxyz")}
            for row in level:
                places[row] += 1 + sum(other < level[row] for other in level.values())
        for row, place in places.items():
            means[row].append(place / 2)
    for found in rank(cells_of(**columns)).listed:
        assert found.interval is not None
        expected = np.quantile(means[found.row], [0.025, 0.975], method="inverted_cdf")
        assert (found.interval.low, found.interval.high) == pytest.approx(expected, abs=0.5)
        assert found.interval.low <= found.mean <= found.interval.high
