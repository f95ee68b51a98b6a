"""Better, worse, undecided: verdicts from results, against scipy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from lossbench.analysis.statistics import holm, power
from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from tests.analysis.compared_rows import CLEAR, NAN, NOISY, REFERENCE, judge_rows, only


@pytest.mark.parametrize(
    ("row", "higher", "outcome"),
    [
        (CLEAR, False, "better"),
        (CLEAR, True, "worse"),
        ([4.0, 4.11, 4.31], False, "worse"),
        ([4.0, 4.11, 4.31], True, "better"),
        (NOISY, False, "undecided"),
    ],
)
def test_direction_and_verdict(row: list[float], higher: bool, outcome: str) -> None:
    verdict = only(judge_rows(REFERENCE, row, higher=higher))
    assert verdict.outcome == outcome
    assert verdict.p_holm == pytest.approx(stats.ttest_rel(row, REFERENCE).pvalue, rel=1e-9)
    assert (verdict.seeds_to_decide is not None) is (outcome == "undecided")


def test_many_rows_are_corrected_for() -> None:
    borderline = [1.0, 1.15, 1.45]  # differences -1, -0.95, -0.85: p = 0.0022 alone
    assert only(judge_rows(REFERENCE, borderline)).outcome == "better"
    crowd = judge_rows(REFERENCE, borderline, *([NOISY] * 29))
    first = crowd.listed[0]
    assert first.outcome == "undecided"
    assert first.difference.interval is not None
    assert first.difference.interval.high < 0  # alone it would hold
    assert first.p_holm == pytest.approx(30 * stats.ttest_rel(borderline, REFERENCE).pvalue)
    assert first.seeds_to_decide is not None
    assert first.seeds_to_decide > 3
    assert crowd.comparisons == 30


def test_a_row_without_spread_counts_as_a_comparison() -> None:
    verdicts = judge_rows(REFERENCE, CLEAR, REFERENCE)
    assert verdicts.comparisons == 2
    assert verdicts.listed[0].p_holm == pytest.approx(
        2 * stats.ttest_rel(CLEAR, REFERENCE).pvalue, rel=1e-9
    )


def test_the_minimum_detectable_difference_pools_the_spread_and_has_the_stated_power() -> None:
    rows = [NOISY, [2.5, 2.1, 2.0], [2.0, 2.3, NAN]]
    verdicts = judge_rows(REFERENCE, *rows, REFERENCE, [NAN] * 3)
    [found] = verdicts.min_detectable
    gaps = [np.subtract(row, REFERENCE) for row in rows]
    gaps[2] = gaps[2][:2]
    pooled = math.sqrt(sum((g.size - 1) * g.var(ddof=1) for g in gaps) / 5)
    assert (found.n, found.rows, found.std) == (3, 3, pytest.approx(pooled))
    assert verdicts.comparisons == 4  # that of identical rows counts, too
    assert power(3, found.difference / found.std, 0.05 / 4) == pytest.approx(0.8)


def test_under_noise_few_tables_have_any_verdict() -> None:
    """A family of eight rows against one reference, three seeds; 1,000 tables."""
    rng = np.random.default_rng(0)
    tables = rng.normal(2, 0.2, (1000, 9, 3))
    p = stats.ttest_rel(tables[:, 1:], tables[:, :1], axis=2).pvalue
    wrong = sum(min(holm(row)) <= 0.05 for row in p.tolist())
    alone = np.mean((p <= 0.05).any(1))
    assert wrong <= 70  # 50 expected at most, and three standard errors
    assert alone > 0.15  # what is corrected for


def test_rows_not_tested_are_not_judged(make_plan: Callable[..., Plan], run_all: Callable) -> None:
    plan = make_plan(
        "selection: {holdout: 0.2}\nreference: softmax\n"
        "losses: [softmax, {center: {weight: {grid: [0.1, 0.2, 0.3]}}}]\n"
    )
    held_out, test = make_tables(PlanWithResults(plan, run_all(plan)))
    assert held_out.verdicts is None
    assert test.verdicts is not None
    assert [v.row for v in test.verdicts.listed] == ["center(weight=0.3)"]
