"""Summary of a table for the tracking store, against numbers computed here."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest

from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.records import TableSummary
from lossbench.report.table_summary import summarize
from tests.analysis.made_up_tables import NAN, TWO, errors

SOFTMAX, WORSE, BETTER = [2.0, 2.1, 1.9], [3.0, 3.2, 2.9], [1.0, 1.12, 0.9]


@pytest.fixture
def summary(make_plan: Callable[..., Plan], fill: Callable) -> TableSummary:
    plan = make_plan(f"reference: softmax\n{TWO}")
    return summarize(PlanWithResults(plan, fill(plan, errors(SOFTMAX, WORSE, BETTER))))


def test_values_are_means_deviations_and_counts(summary: TableSummary) -> None:
    expected: dict[tuple[str, ...], float] = {}
    rows = {"softmax": SOFTMAX, "lgm(alpha=0)": WORSE, "lgm(alpha=1)": BETTER}
    for row, values in rows.items():
        expected["error", "mean", row] = statistics.fmean(values)
        expected["error", "std", row] = statistics.stdev(values)
        expected["error", "n", row] = 3
    assert summary.values == pytest.approx(expected)
    assert (summary.metrics, summary.ascending) == (("error",), True)


def test_verdicts_and_rows_are_those_of_the_report(summary: TableSummary) -> None:
    assert summary.verdicts == {
        ("lgm(alpha=0)",): "worse, +1.03",
        ("lgm(alpha=1)",): "better, −0.99",
    }
    rows = [dict(zip(summary.columns, row, strict=True)) for row in summary.rows]
    shown = [(row["row"], row["mean ± std"], row["n"], row["verdict"]) for row in rows]
    assert shown == [
        ("softmax", "2.00 ± 0.10", 3, ""),
        ("lgm(alpha=0)", "3.03 ± 0.15", 3, "worse"),
        ("lgm(alpha=1)", "1.01 ± 0.11", 3, "better"),
    ]
    assert rows[2]["difference"] == "−0.99"
    assert rows[2]["mean"] == pytest.approx(statistics.fmean(BETTER))


def test_the_description_begins_with_the_answer(summary: TableSummary) -> None:
    first, *_ = summary.description.splitlines()
    assert first.startswith("- **lgm(alpha=1)** beats softmax by 0.99 percentage points")
    assert "| lgm(alpha=0) | 3.03 ± 0.15 |" in summary.description
    assert "9 of 9 trials run" in summary.short_description
    assert summary.short_description in summary.description
    assert "|" not in summary.short_description
    assert "\\<" not in summary.description  # MLflow would show the backslash


def test_missing_values_are_left_out(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(f"reference: softmax\n{TWO}")
    results = fill(plan, errors([2.0, NAN, NAN], [NAN] * 3, [1.0, 1.1, 1.2]))
    summary = summarize(PlanWithResults(plan, results))
    assert {key: value for key, value in summary.values.items() if key[2] != "lgm(alpha=1)"} == {
        ("error", "mean", "softmax"): 2.0,
        ("error", "n", "softmax"): 1.0,
        ("error", "n", "lgm(alpha=0)"): 0.0,
    }
    assert "| softmax | 2.00 (n=1, 2 of 3 diverged) |" in summary.description
    [row] = [r for r in summary.rows if "lgm(alpha=0)" in r]
    assert row[summary.columns.index("mean")] is None


def test_a_table_without_results_has_a_summary(make_plan: Callable[..., Plan]) -> None:
    summary = summarize(PlanWithResults(make_plan(f"reference: softmax\n{TWO}"), {}))
    assert set(summary.values.values()) == {0.0}
    assert "0 of 9 trials run" in summary.description
