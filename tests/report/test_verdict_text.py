"""Verdicts in words: reasons, notes, and what a reader sees in the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats

from lossbench.analysis.tables import make_tables
from lossbench.planning.looks import start_looks
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.records import Metric
from lossbench.report import render
from lossbench.report.metric_tables import CLASSIC_TITLE
from lossbench.report.verdict_text import (
    describe_verdict,
    exact_test_note,
    format_seeds_to_decide,
    is_paired_t_test,
    verdict_notes,
)
from tests.analysis.compared_rows import CLEAR, NAN, NOISY, REFERENCE, judge_rows, only
from tests.report.synthetic_report import in_terminal

TWO = "reference: softmax\nlosses: [softmax, {lgm: {alpha: {grid: [0.0, 1.0]}}}]\n"


@pytest.mark.parametrize(
    ("reference", "row", "text", "seeds"),
    [
        (REFERENCE, REFERENCE, "undecided (identical on every seed)", ""),
        ([2, 3, 4], [1, 2, 3], "undecided (no spread between seeds is known)", ""),
        ([2, 3, 4], [1, 3, 5], "undecided", "> 1000"),
        ([2, 3, 4], [1, 3, 5.0001], "undecided", "> 1000"),
        ([2], [1], "none (only one paired seed)", ""),
        (REFERENCE, [NAN] * 3, "none (all 3 seeds diverged)", ""),
        ([NAN] * 3, REFERENCE, "none (0: all 3 seeds diverged)", ""),
        ([1, NAN], [NAN, 1], "none (no seed finished in both rows)", ""),
        ([2, 3], [1, NAN], "none (only one paired seed; 1 of 2 diverged)", ""),
        (
            [2, 2.1, 2.3, NAN],
            [1, NAN, 1.71, 1],
            "undecided (1 of 4 diverged; 0: 1 of 4 diverged; 2 paired)",
            "4",
        ),
    ],
)
def test_a_verdict_without_a_test_has_a_reason(
    reference: Any, row: Any, text: str, seeds: str
) -> None:
    verdict = only(judge_rows(reference, row))
    assert (describe_verdict(verdict), format_seeds_to_decide(verdict)) == (text, seeds)


def test_a_verdict_names_the_seeds_it_leaves_out() -> None:
    verdict = only(judge_rows([*REFERENCE, 2.2], [*CLEAR, NAN]))
    assert describe_verdict(verdict) == "better (1 of 4 diverged; 3 paired)"


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (2, "p is 0.5"),
        (3, "p is 0.25"),
        (5, "p is 0.062"),
    ],
)
def test_exact_tests_are_out_of_reach_with_few_seeds(seeds: int, words: str) -> None:
    assert f"with {seeds} seeds an exact test" in exact_test_note(seeds)
    assert f"its smallest possible {words}" in exact_test_note(seeds)


def test_exact_tests_are_within_reach_with_six_seeds() -> None:
    assert exact_test_note(6) == ""


@pytest.fixture
def plan(make_plan: Callable[..., Plan]) -> Plan:
    return make_plan(TWO)


def errors(softmax: Any, alpha0: Any, alpha1: Any) -> dict[str, Any]:
    return {
        "default/softmax": softmax,
        "default/lgm(alpha=0)": alpha0,
        "default/lgm(alpha=1)": alpha1,
    }


def test_a_detectable_difference_above_all_percentages_is_none(plan: Plan, fill: Callable) -> None:
    results = fill(plan, errors([10.0, 90.0, 40.0], [80.0, 20.0, 5.0], [30.0, 25.0, 95.0]))
    text = " ".join(in_terminal(plan, results).split())
    assert "that 3 seeds detect with 80 % power: more than 100 percentage points." in text


def test_every_row_is_judged_in_terminal_and_markdown(plan: Plan, fill: Callable) -> None:
    results = fill(plan, errors(REFERENCE, NOISY, CLEAR))
    for text in (in_terminal(plan, results), render(PlanWithResults(plan, results), "markdown")):
        assert "Difference to softmax, paired by seed, in percentage points" in text
        assert "Smallest true difference that 3 seeds detect with 80 % power: " in text
        assert "exact test (sign flips) cannot reach" in text
    text = render(PlanWithResults(plan, results), "markdown")
    verdicts, _, classic = text.partition(f"<details><summary>{CLASSIC_TITLE}</summary>")
    heading = "| loss | verdict | difference | interval (Holm) | p (Holm) | seeds to decide |"
    assert heading in verdicts
    assert r"| lgm(alpha=1) | **better** | −0.99 | −1.01 to −0.98 | \< 0.001 |" in classic
    assert "| lgm(alpha=0) | undecided | −0.17 | −2.16 to +1.83 | 0.75 |" in classic
    assert CLASSIC_TITLE not in in_terminal(plan, results)


def test_two_rows_have_a_plain_paired_t_test(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan("reference: softmax\nseeds: [0, 1, 2, 3]\nlosses: [softmax, center]\n")
    values = {"default/softmax": [2.0, 2.1, 2.3, 2.2], "default/center": [1.0, 1.3, 1.6, NAN]}
    results = fill(plan, values)
    [table] = make_tables(PlanWithResults(plan, results))
    assert is_paired_t_test(table)
    text = render(PlanWithResults(plan, results), "markdown")
    assert "p ≤ 0.05 in a paired t test." in text
    assert "| loss | verdict | difference | 95 % interval | p | seeds to decide |" in text
    assert CLASSIC_TITLE not in text
    t_test = scipy.stats.ttest_rel([1.0, 1.3, 1.6], [2.0, 2.1, 2.3])
    low, high = (f"−{-end:.2f}" for end in t_test.confidence_interval(0.95))
    assert f"| {low} to {high} | {t_test.pvalue:.2g} |" in text


def test_repeated_looks_are_named_even_with_two_rows(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan("reference: softmax\nlosses: [softmax, center]\n")
    plan = replace(plan, looks=start_looks(plan, 20))
    values = {"default/softmax": [2.0, 2.1, 2.3], "default/center": [1.0, 1.12, 1.29]}
    text = render(PlanWithResults(plan, fill(plan, values)), "markdown")
    assert "In brackets: 95 % interval, corrected for the repeated looks." in text
    assert "| interval (corrected) | p (corrected) |" in text
    assert "p and intervals are corrected for the repeated looks: an interval excludes" in text
    assert CLASSIC_TITLE in text  # its interval is another one


def test_more_rows_are_not_a_plain_paired_t_test(plan: Plan, fill: Callable) -> None:
    [table] = make_tables(
        PlanWithResults(plan, fill(plan, errors(REFERENCE, [1.5, 1.9, 2.5], CLEAR)))
    )
    assert not is_paired_t_test(table)
    [table] = make_tables(PlanWithResults(plan, fill(plan, errors(REFERENCE, [NAN] * 3, CLEAR))))
    assert is_paired_t_test(table)


def test_a_row_tested_by_its_own_spread_is_named(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    alphas = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0]
    plan = make_plan(
        f"reference: softmax\nseeds: [0, 1, 2, 3, 4]\n"
        f"losses: [softmax, {{lgm: {{alpha: {{grid: {alphas}}}}}}}]\n"
    )
    generator = np.random.default_rng(0)
    values = {f"default/{row.label}": [*generator.normal(3, 0.1, 5)] for row in plan.rows}
    values["default/lgm(alpha=0.3)"] = [1.0, 5.0, 9.0, 2.0, 3.0]
    results = fill(plan, values)
    [table] = make_tables(PlanWithResults(plan, results))
    assert table.verdicts is not None
    ratio = table.verdicts.out_of_line["lgm(alpha=0.3)"]
    words = f"lgm(alpha=0.3) varies {ratio:.1f} times as much between seeds as the other rows"
    assert words in " ".join(in_terminal(plan, results).split())
    assert f"- Warning: {words}" in render(PlanWithResults(plan, results), "markdown")


def test_without_reference_or_its_results_there_is_no_verdict(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    free = make_plan(TWO.replace("reference: softmax", ""))
    values = errors(REFERENCE, NOISY, CLEAR)
    [table] = make_tables(PlanWithResults(free, fill(free, values)))
    assert table.verdicts is None
    assert "Difference to" not in in_terminal(free, fill(free, values))
    narrowed = make_plan(TWO).narrowed("lgm*")
    [table] = make_tables(PlanWithResults(narrowed, {}))
    assert verdict_notes(table) == ["No verdicts: the reference row softmax is not in this table."]


def test_one_seed_has_no_verdict(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(f"seeds: [0]\n{TWO}")
    results = fill(plan, errors([2], [1], [NAN]))
    text = render(PlanWithResults(plan, results), "markdown")
    assert "| none (only one paired seed) |" in text
    assert "| none (diverged) |" in text
    for shown in (text, in_terminal(plan, results)):
        assert "only one paired seed" in shown
        assert "No verdicts: a comparison needs at least two seeds" in shown


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
    assert text.count("Difference to softmax") == 1
    assert "Test error only; the verdicts on other metrics are in the report." in text
    assert render(PlanWithResults(plan, results), "markdown").count("Difference to softmax") == 2
