"""The verdicts of a check: by example, against scipy, and by how often they are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats
from synthetic_baseline import SPREAD, Values, table

from lossbench.report.regression import Finding, compare, exit_code


def judged(before: Values, after: Values, first_seed: int = 0, **metric: Any) -> Finding:
    """The finding of the first row."""
    return compare(table(before, **metric), table(after, first_seed, **metric))[0]


STEADY: Values = {"softmax": [5.0, 5.2, 5.4], **SPREAD}


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ([5.0, 5.2, 5.4], "identical"),
        ([5.0, 5.2], "identical"),
        ([5.0, 5.2, 5.4, 9.0], "identical"),  # the same code; another seed is no change
        ([5.0, 5.2, 5.5], "pass"),
        ([8.0, 8.1, 8.5], "regression"),
        ([6.5, 10.2, 14.4], "regression"),  # wildly worse: beyond the baseline's noise
        ([2.0, 2.3, 2.2], "improved"),
        ([5.9, 5.2, 5.9], "undecided"),
        ([5.0, 5.2, None], "undecided"),
        ([8.0, 8.1, None], "regression"),
        ([None, None, None], "regression"),
        ([None], "undecided"),  # one seed may train badly
        ([9.0], "undecided"),
        ([5.1, 5.3, 15.0], "undecided"),  # so may one of three
    ],
)
def test_same_seeds(after: list[float | None], verdict: str) -> None:
    found = judged(STEADY, {"softmax": after, **SPREAD})
    assert found.verdict == verdict, found.reason
    assert found.reason


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ([5.1, 5.2, 5.3], "pass"),
        ([5.0, 5.2, 5.4], "pass"),  # equal values of other seeds are luck, not identity
        ([5.3, 5.5, 5.7], "undecided"),
        ([8.0, 8.1, 8.5], "regression"),
        ([2.0, 2.3, 2.2], "improved"),
        ([5.1, 5.3, 15.0], "undecided"),
        ([8.0, 8.5], "regression"),
        ([8.0], "undecided"),
        ([5.4], "undecided"),
        ([5.1, None, 5.3], "undecided"),
    ],
)
def test_new_seeds(after: list[float | None], verdict: str) -> None:
    found = judged(STEADY, {"softmax": after, **SPREAD}, first_seed=3)
    assert found.verdict == verdict, found.reason
    assert found.matched == ()


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ([None, 5.0, 5.2], [None, None, None], "undecided"),
        ([None, None, None], [None, None, None], "identical"),
        ([None, None, None], [5.0, 5.1, None], "improved"),
        ([None, 5.0, 5.2], [None, 5.0, 5.2], "identical"),
        ([None, 5.0, 5.2], [5.1, 5.0, 5.2], "pass"),
        ([5.0, 5.1, 5.2], [None, None, 60.0], "regression"),
        ([5.0, 5.1, 5.2], [60.0, None, None], "regression"),
        ([5.0, 5.1, 5.2], [None, None, 5.2], "undecided"),
        ([5.0, 5.1, 5.2], [None, None, 0.1], "undecided"),
        ([None, None, 5.2], [None, None, 60.0], "undecided"),
    ],
)
def test_divergence(before: list[float | None], after: list[float | None], verdict: str) -> None:
    found = judged({"softmax": before, **SPREAD}, {"softmax": after, **SPREAD})
    assert found.verdict == verdict, found.reason


def test_without_any_known_spread_nothing_is_decided() -> None:
    found = judged({"softmax": [5.0]}, {"softmax": [9.0]})
    assert (found.verdict, found.interval) == ("undecided", None)


def test_single_seeds_lean_on_the_other_cells_of_the_baseline() -> None:
    twice = judged({"softmax": [5.0], **SPREAD}, {"softmax": [9.0, 9.5]}, first_seed=3)
    assert twice.verdict == "regression"
    assert judged({"softmax": [5.0], **SPREAD}, {"softmax": [5.1]}).verdict == "undecided"
    wide = judged({"softmax": [5.0], **SPREAD}, {"softmax": [5.1]}, min_effect=1.0)
    assert wide.verdict == "pass"


def test_higher_is_better_mirrors_everything() -> None:
    mirrored = {"direction": "higher"}
    better = judged(STEADY, {"softmax": [8.0, 8.1, 8.5], **SPREAD}, **mirrored)
    worse = judged(STEADY, {"softmax": [2.0, 2.3, 2.2], **SPREAD}, **mirrored)
    assert (better.verdict, worse.verdict) == ("improved", "regression")
    assert worse.delta == pytest.approx(-3.0333333)


def test_a_worsening_below_the_minimum_effect_is_none() -> None:
    after = {"softmax": [5.3, 5.51, 5.7], **SPREAD}  # clearly worse, by 0.3
    assert judged(STEADY, after).verdict == "pass"
    assert judged(STEADY, after, min_effect=0.2).verdict == "regression"


def test_a_difference_without_spread_is_weighed_by_the_baselines_noise() -> None:
    assert judged(STEADY, {"softmax": [9.0, 9.2, 9.4], **SPREAD}).verdict == "regression"


def test_intervals_are_those_of_the_t_tests() -> None:
    before, after = [5.0, 5.3, 5.4], [5.9, 5.7, 6.4]
    unpaired = judged({"a": before}, {"a": after}, first_seed=3)
    expected = stats.ttest_ind(after, before).confidence_interval()
    assert unpaired.interval is not None
    assert (unpaired.interval.low, unpaired.interval.high) == pytest.approx(tuple(expected))
    paired = judged({"a": before}, {"a": after})
    expected = stats.ttest_rel(after, before).confidence_interval()
    assert paired.interval is not None
    assert (paired.interval.low, paired.interval.high) == pytest.approx(tuple(expected))


def test_a_new_row_fails_nothing_and_a_few_common_seeds_are_not_matched() -> None:
    before = table(STEADY)
    found = compare(before, table({**STEADY, "lgm": [1.0, 2.0, 3.0]}))
    assert found[-1].verdict == "new"
    assert exit_code(found) == 0
    assert judged(STEADY, {"softmax": [5.4, 5.0, 5.2]}, first_seed=2).matched == ()


def test_exit_codes() -> None:
    def code(*rows: Sequence[float | None]) -> int:
        after = {f"row{i}": row for i, row in enumerate(rows)}
        before = {f"row{i}": [5.0, 5.2, 5.4] for i in range(len(rows))}
        return exit_code(compare(table({**before, **SPREAD}), table({**after, **SPREAD})))

    same, worse, unclear = [5.0, 5.2, 5.4], [8.0, 8.1, 8.5], [5.0, 5.2, None]
    assert code(same, same) == 0
    assert code(same, unclear) == 3
    assert code(unclear, worse) == 1


def draw(
    rng: np.random.Generator, spreads: Sequence[float], shift: float = 0.0
) -> tuple[Values, Values]:
    """Two tables of the same losses, three seeds each; the first loss is worse in the second."""
    before = {f"r{i}": list(5 + s * rng.standard_normal(3)) for i, s in enumerate(spreads)}
    after = {f"r{i}": list(5 + s * rng.standard_normal(3)) for i, s in enumerate(spreads)}
    after["r0"] = [value + shift * spreads[0] for value in after["r0"]]
    return before, after


def share_of_alarms(shift: float, tables: int = 80) -> float:
    """Of tables of 16 losses with spreads from 0.2 to 1.6, checked with other seeds."""
    rng = np.random.default_rng(0)
    spreads = list(np.geomspace(0.2, 1.6, 16))
    alarms = 0
    for _ in range(tables):
        before, after = draw(rng, spreads[::-1], shift)
        found = compare(table(before, min_effect=0.01), table(after, 3, min_effect=0.01))
        alarms += exit_code(found) == 1
    return alarms / tables


def test_noise_alone_rarely_fails_a_whole_table_and_a_bad_loss_nearly_always_does() -> None:
    assert share_of_alarms(shift=0) <= 0.0625  # 5 of 80; 5 % is the bound
    assert share_of_alarms(shift=10) >= 0.9
