"""Cells and their baselines in pairs: which seeds are compared, and how much they vary."""

from __future__ import annotations

import math
from statistics import variance

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
