"""Better, worse, undecided: from summaries, and as a reader sees it."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from lossbench.analysis.comparison import Verdict, Verdicts, exact_note, judge
from lossbench.analysis.statistics import Summary, holm, power
from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.records import Metric
from lossbench.report import render, terminal_table
from lossbench.report.verdict_text import verdict_notes

NAN = math.nan
TWO = "reference: softmax\nlosses: [softmax, {lgm: {alpha: {grid: [0.0, 1.0]}}}]\n"
REFERENCE = [2.0, 2.1, 2.3]
CLEAR = [1.0, 1.11, 1.31]
NOISY = [1.0, 2.0, 2.9]


def summary(*values: float) -> Summary:
    """NaN stands for a diverged seed."""
    there = {seed: value for seed, value in enumerate(values) if value == value}
    return Summary(tuple(there.values()), len(values) - len(there), 0, tuple(there))


def judge_rows(reference: Any, *rows: Any, higher: bool = False) -> Verdicts:
    cells = {("v", str(i)): summary(*values) for i, values in enumerate((reference, *rows))}
    return judge(cells, "0", {"v": "0"}, higher)


def only(verdicts: Verdicts) -> Verdict:
    [verdict] = verdicts.listed
    return verdict


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
    assert bool(verdict.seeds) is (outcome == "undecided")


def test_many_rows_are_corrected_for() -> None:
    borderline = [1.0, 1.15, 1.45]  # differences -1, -0.95, -0.85: p = 0.0022 alone
    assert only(judge_rows(REFERENCE, borderline)).outcome == "better"
    crowd = judge_rows(REFERENCE, borderline, *([NOISY] * 29))
    first = crowd.listed[0]
    assert first.outcome == "undecided"
    assert first.difference.interval is not None
    assert first.difference.interval.high < 0  # alone it would hold
    assert first.p_holm == pytest.approx(30 * stats.ttest_rel(borderline, REFERENCE).pvalue)
    assert int(first.seeds) > 3
    assert crowd.comparisons == 30


@pytest.mark.parametrize(
    ("reference", "row", "text", "seeds"),
    [
        (REFERENCE, REFERENCE, "undecided (identical on every seed)", "no gap to decide"),
        ([2, 3, 4], [1, 2, 3], "undecided (same difference on every seed)", ""),
        ([2, 3, 4], [1, 3, 5], "undecided", "no gap to decide"),
        ([2, 3, 4], [1, 3, 5.0001], "undecided", "> 1000"),
        ([2], [1], "none (one seed has no spread)", ""),
        (REFERENCE, [NAN] * 3, "none (all 3 seeds diverged)", ""),
        ([NAN] * 3, REFERENCE, "none (0: all 3 seeds diverged)", ""),
        ([1, NAN], [NAN, 1], "none (no seed finished in both)", ""),
        (
            [2, 2.1, 2.3, NAN],
            [1, NAN, 1.71, 1],
            "undecided (1 of 4 diverged; 0: 1 of 4 diverged; 2 matched)",
            "4",
        ),
    ],
)
def test_what_cannot_be_told_says_so(reference: Any, row: Any, text: str, seeds: str) -> None:
    verdict = only(judge_rows(reference, row))
    assert (verdict.text, verdict.seeds) == (text, seeds)


def test_a_verdict_tells_of_the_seeds_it_leaves_out() -> None:
    verdict = only(judge_rows([*REFERENCE, 2.2], [*CLEAR, NAN]))
    assert verdict.text == "better (1 of 4 diverged; 3 matched)"


def test_a_row_without_spread_counts_as_a_comparison() -> None:
    verdicts = judge_rows(REFERENCE, CLEAR, REFERENCE)
    assert verdicts.comparisons == 2
    assert verdicts.listed[0].p_holm == pytest.approx(
        2 * stats.ttest_rel(CLEAR, REFERENCE).pvalue, rel=1e-9
    )


def test_the_floor_pools_the_spread_and_has_the_stated_power() -> None:
    rows = [NOISY, [2.5, 2.1, 2.0], [2.0, 2.3, NAN]]
    verdicts = judge_rows(REFERENCE, *rows, REFERENCE, [NAN] * 3)
    [floor] = verdicts.floors
    gaps = [np.subtract(row, REFERENCE) for row in rows]
    gaps[2] = gaps[2][:2]
    pooled = math.sqrt(sum((g.size - 1) * g.var(ddof=1) for g in gaps) / 5)
    assert (floor.n, floor.rows, floor.std) == (3, 3, pytest.approx(pooled))
    assert verdicts.comparisons == 4  # that of identical rows counts, too
    assert power(3, floor.gap / floor.std, 0.05 / 4) == pytest.approx(0.8)


def test_under_noise_few_tables_have_any_verdict() -> None:
    """A family of eight rows against one reference, three seeds; 1,000 tables."""
    rng = np.random.default_rng(0)
    tables = rng.normal(2, 0.2, (1000, 9, 3))
    p = stats.ttest_rel(tables[:, 1:], tables[:, :1], axis=2).pvalue  # as in `judge`, see above
    wrong = sum(min(holm(row)) <= 0.05 for row in p.tolist())
    alone = np.mean((p <= 0.05).any(1))
    assert wrong <= 70  # 50 expected at most, and three standard errors
    assert alone > 0.15  # what is corrected for


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (2, "p is 0.5 for the signs of matched differences and 0.33"),
        (3, "no exact test reaches p < 0.05: the smallest possible p is 0.25"),
        (5, "not every exact test reaches p < 0.05: the smallest possible p is 0.062"),
    ],
)
def test_exact_tests_are_out_of_reach_with_few_seeds(seeds: int, words: str) -> None:
    assert words in exact_note(seeds)


def test_exact_tests_are_within_reach_with_six_seeds() -> None:
    assert exact_note(6) == ""


@pytest.fixture
def plan(make_plan: Callable[..., Plan]) -> Plan:
    return make_plan(TWO)


def errors(softmax: Any, alpha0: Any, alpha1: Any) -> dict[str, Any]:
    return {
        "default/softmax": softmax,
        "default/lgm(alpha=0)": alpha0,
        "default/lgm(alpha=1)": alpha1,
    }


def in_terminal(plan: Plan, results: Any) -> str:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(terminal_table(PlanWithResults(plan, results)))
    return console.export_text()


def test_a_resolution_above_all_percentages_is_none(plan: Plan, fill: Callable) -> None:
    results = fill(plan, errors([10.0, 90.0, 40.0], [80.0, 20.0, 5.0], [30.0, 25.0, 95.0]))
    text = " ".join(in_terminal(plan, results).split())
    assert "in percentage points: none, since not even 100 would be (3 seeds, spread" in text


def test_every_row_is_judged_in_terminal_and_markdown(plan: Plan, fill: Callable) -> None:
    results = fill(plan, errors(REFERENCE, NOISY, CLEAR))
    for text in (in_terminal(plan, results), render(PlanWithResults(plan, results), "markdown")):
        assert "Against softmax, matched by seed, percentage points" in text
        assert "Resolution: smallest true difference that is detected" in text
        assert "no exact test reaches" in text
    lines = render(PlanWithResults(plan, results), "markdown").splitlines()
    assert r"| lgm(alpha=1) | **better** | −0.99 | −1.01 to −0.98 | \< 0.001 | – |" in lines
    assert "| lgm(alpha=0) | undecided | −0.17 | −2.16 to +1.83 | 0.75 | 223 |" in lines


def test_without_reference_or_its_results_there_is_no_verdict(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    free = make_plan(TWO.replace("reference: softmax", ""))
    values = errors(REFERENCE, NOISY, CLEAR)
    [table] = make_tables(PlanWithResults(free, fill(free, values)))
    assert table.verdicts is None
    assert "Against" not in in_terminal(free, fill(free, values))
    narrowed = make_plan(TWO).narrowed("lgm*")
    [table] = make_tables(PlanWithResults(narrowed, {}))
    assert verdict_notes(table) == ["No verdicts: the reference row softmax is not in this table."]


def test_one_seed_has_no_verdict(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(f"seeds: [0]\n{TWO}")
    text = in_terminal(plan, fill(plan, errors([2], [1], [NAN])))
    assert "none (one seed has no spread)" in text
    assert "none (diverged)" in text
    assert "No verdicts: a spread needs two seeds that finished in both rows." in text


def test_of_many_metrics_the_terminal_judges_the_first_only(plan: Plan, fill: Callable) -> None:
    metrics = (
        Metric(name="error", label="error", unit="% of images"),
        Metric(name="x_error", label="error of x", unit="% of images"),
    )
    plan = replace(plan, metrics=metrics)
    results = {
        identity: result.model_copy(update={"metrics": {**result.metrics, "x_error": 1.0}})
        for identity, result in fill(plan, errors(REFERENCE, NOISY, CLEAR)).items()
    }
    text = in_terminal(plan, results)
    assert text.count("Against softmax") == 1
    assert "Test error only; the report has the other 1 metric." in text
    assert render(PlanWithResults(plan, results), "markdown").count("Against softmax") == 2


def test_rows_not_tested_are_not_judged(make_plan: Callable[..., Plan], run_all: Callable) -> None:
    plan = make_plan(
        "selection: {holdout: 0.2}\nreference: softmax\n"
        "losses: [softmax, {center: {weight: {grid: [0.1, 0.2, 0.3]}}}]\n"
    )
    held_out, test = make_tables(PlanWithResults(plan, run_all(plan)))
    assert held_out.verdicts is None
    assert test.verdicts is not None
    assert [v.row for v in test.verdicts.listed] == ["center(weight=0.3)"]
