"""Cells and their baselines in pairs: which seeds are compared, and how much they vary."""

from __future__ import annotations

import math
from statistics import stdev, variance

import numpy as np
import pytest

from lossbench.gate.compare import (
    CellPair,
    pair_cells,
    spreads_of_baseline,
    spreads_of_differences,
)
from tests.gate.synthetic_baseline import Values, make_baseline


def pair(before: list[float | None], after: list[float | None], first_seed: int = 0) -> CellPair:
    baseline, measured = make_baseline({"a": before}), make_baseline({"a": after}, first_seed)
    [found] = pair_cells(baseline, measured)
    return found


@pytest.mark.parametrize(
    ("after", "first_seed", "matched", "before_values", "after_values"),
    [
        ([6.0, 6.5, 7.0], 0, (0, 1, 2), (5.0, 5.5, 6.0), (6.0, 6.5, 7.0)),
        ([6.0, 6.5], 1, (1, 2), (5.5, 6.0), (6.0, 6.5)),
        ([6.0, None, 7.0], 0, (0, 2), (5.0, 6.0), (6.0, 7.0)),
        ([6.0, 6.5], 2, (), (5.0, 5.5, 6.0), (6.0, 6.5)),  # one common seed of several
        ([6.0, 6.5, 7.0], 3, (), (5.0, 5.5, 6.0), (6.0, 6.5, 7.0)),
    ],
)
def test_seeds_are_matched_if_one_side_has_all_of_them(
    after: list[float | None],
    first_seed: int,
    matched: tuple[int, ...],
    before_values: tuple[float, ...],
    after_values: tuple[float, ...],
) -> None:
    found = pair([5.0, 5.5, 6.0], after, first_seed)
    assert found.matched == matched
    assert (found.before_values, found.after_values) == (before_values, after_values)


def test_the_variance_is_that_of_differences_or_of_both_sides() -> None:
    before, after = [5.0, 5.3, 5.4], [5.9, 5.7, 6.4]
    matched, unmatched = pair([*before], [*after]), pair([*before], [*after], first_seed=3)
    gaps = [b - a for a, b in zip(before, after, strict=True)]
    assert matched.variance.value == pytest.approx(variance(gaps))
    assert matched.variance_factors == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert unmatched.variance.value == pytest.approx((variance(before) + variance(after)) / 2)
    assert unmatched.variance_factors == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert matched.delta == pytest.approx(sum(gaps) / 3)


def test_spreads_of_a_column_are_pooled_where_its_cells_agree() -> None:
    values: Values = {f"row{i}": [5.0, 5.2, 5.4] for i in range(5)}
    baseline, measured = make_baseline(values), make_baseline(values, 3)
    for spreads in (
        spreads_of_baseline(baseline),
        spreads_of_differences(pair_cells(baseline, measured)),
    ):
        assert len(spreads) == 5
        for spread in spreads.values():
            assert spread is not None
            assert spread.sd == pytest.approx(0.2)
            assert spread.df > 2  # more than one cell of three seeds has
            assert not math.isinf(spread.df)


def test_no_spread_is_below_that_of_the_cell_itself() -> None:
    rng = np.random.default_rng(0)
    values: Values = {f"row{i}": list(5 + rng.standard_normal(3)) for i in range(6)}
    baseline = make_baseline(values)
    spreads = spreads_of_baseline(baseline)
    larger = 0
    for cell in baseline.cells:
        spread = spreads[cell.key]
        assert spread is not None
        assert spread.sd >= stdev(cell.values) * (1 - 1e-12)
        larger += spread.sd > stdev(cell.values) * 1.01
    assert 0 < larger < 6  # the others are averaged with a common one


def test_cells_of_other_columns_add_degrees_of_freedom() -> None:
    rng = np.random.default_rng(0)
    one = make_baseline({f"row{i}": list(5 + 2.0**i * rng.standard_normal(3)) for i in range(8)})
    again = [
        c.model_copy(update={"variant": "B", "values": [5 + 2 * (v - 5) for v in c.values]})
        for c in one.cells
    ]
    alone = spreads_of_baseline(one)
    both = spreads_of_baseline(one.model_copy(update={"cells": [*one.cells, *again]}))
    for cell in one.cells:
        single, pooled = alone[cell.key], both[cell.key]
        assert single is not None
        assert pooled is not None
        assert pooled.df > single.df
        twice = both[("B", *cell.key[1:])]
        assert twice is not None
        assert twice.sd > 1.5 * pooled.sd  # each column keeps its own scale
