"""The answer at the top of a report: one sentence per column."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.records import Metric
from lossbench.report.answer import Answers, make_answers
from tests.analysis.made_up_tables import NAN, TWO, errors
from tests.report.synthetic_report import in_terminal, result_of
from tests.synthetic_plans import with_class_counts

COMPARED = f"reference: softmax\n{TWO}"
FOUR = "reference: softmax\nlosses: [softmax, {lgm: {alpha: {grid: [0.0, 0.3, 0.5, 1.0]}}}]\n"
REFERENCE, WORSE, BETTER = [2.0, 2.1, 1.9], [3.0, 3.2, 2.9], [1.0, 1.12, 0.9]


def answers_of(plan: Plan, results: Any) -> Answers:
    return make_answers(make_tables(PlanWithResults(plan, results)))


def four(*rows: Any) -> dict[str, Any]:
    labels = ["softmax", *(f"lgm(alpha={a})" for a in ("0", "0.3", "0.5", "1"))]
    return {f"default/{label}": values for label, values in zip(labels, rows, strict=True)}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            (REFERENCE, WORSE, BETTER),
            "lgm(alpha=1) beats softmax by 0.99 percentage points […]; lgm(alpha=0) is worse.",
        ),
        (
            (REFERENCE, [1.2, 1.3, 1.1], BETTER),
            "lgm(alpha=1) beats softmax by 0.99 percentage points […]; lgm(alpha=0) beats it, too.",
        ),
        (
            (REFERENCE, [NAN] * 3, BETTER),
            "lgm(alpha=1) beats softmax by 0.99 percentage points […]; lgm(alpha=0) has "
            "no verdict (all 3 seeds diverged).",
        ),
        (
            ([2.0, 2.1, 1.9], WORSE, [1.0, 1.1, NAN]),
            "lgm(alpha=1) (1 of 3 diverged) beats softmax by 1.00 percentage points",
        ),
        ((REFERENCE, WORSE, WORSE), "no loss beats softmax: lgm(alpha=0) and lgm(alpha=1) are"),
        (
            (REFERENCE, [5.0, 5.1, 4.9], [2.0, 2.15, 1.92]),
            "no loss is shown to beat softmax: lgm(alpha=0) is worse; lgm(alpha=1) is undecided (",
        ),
        (
            (REFERENCE, REFERENCE, REFERENCE),
            "no loss is shown to beat softmax: lgm(alpha=0) and lgm(alpha=1) are undecided "
            "(identical on every seed).",
        ),
        (
            ([NAN] * 3, WORSE, BETTER),
            "lgm(alpha=1) has the best mean, 1.01 ± 0.11 %, without a test: softmax: all 3 seeds "
            "diverged; not compared: softmax (n=0, 3 of 3 diverged).",
        ),
        (
            ([NAN, 1, 1],) * 3,
            "no loss is shown to beat softmax",
        ),
        (([None] * 3,) * 3, "no best row yet: 0 of 3 rows have results of all seeds."),
    ],
)
def test_the_answer_of_one_column(
    make_plan: Callable[..., Plan], fill: Callable, values: tuple[Any, ...], sentence: str
) -> None:
    plan = make_plan(COMPARED)
    answers = answers_of(plan, fill(plan, errors(*values)))
    [answer] = answers.listed
    assert answers.metric == "Test error, % of test images"
    shown = re.sub(r"\[.*?\]", "[…]", answer.sentence)
    assert shown.startswith(sentence), shown


def test_a_column_for_which_nothing_was_chosen(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(COMPARED)
    [table] = make_tables(PlanWithResults(plan, fill(plan, errors(REFERENCE, WORSE, BETTER))))
    [answer] = make_answers([replace(table, cells={}, verdicts=None)]).listed
    assert answer.sentence.startswith("no row: nothing is chosen on the held-out part")


def test_the_interval_is_that_of_the_verdict(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(COMPARED)
    [table] = make_tables(PlanWithResults(plan, fill(plan, errors(REFERENCE, WORSE, BETTER))))
    assert table.verdicts is not None
    interval = table.verdicts.listed[1].interval
    assert interval is not None
    [answer] = make_answers([table]).listed
    assert f"[{-interval.high:.2f}, {-interval.low:.2f}]" in answer.text


def test_the_largest_improvement_is_named_first(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(FOUR)
    rows = [5, 5.2, 5.3], [4, 4.1, 4.3], [1, 1.2, 1.3], [3, 3.3, 3.3], [2, 2.1, 2.3]
    [answer] = answers_of(plan, fill(plan, four(*rows))).listed
    assert (answer.lead, answer.outcome) == ("lgm(alpha=0.3)", "better")
    assert answer.text.endswith("; lgm(alpha=1), lgm(alpha=0.5) and lgm(alpha=0) beat it, too")


def test_the_number_of_seeds_is_that_of_the_row_that_needs_most(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(COMPARED)
    found = PlanWithResults(plan, fill(plan, errors(REFERENCE, [2.5, 2.6, 1.7], [1.3, 2.1, 1.0])))
    [table] = make_tables(found)
    assert table.verdicts is not None
    needed = [verdict.seeds_to_decide or 0 for verdict in table.verdicts.listed]
    assert len(set(needed)) == 2
    answers = make_answers([table])
    assert answers.listed[0].text.endswith(
        f"are undecided (about {max(needed) - 3} more seeds would probably decide them all)"
    )
    assert answers.note.endswith("80 % power if the measured differences are the true ones.")
    assert "brackets" not in answers.note  # no interval is named


def test_differences_that_no_number_of_seeds_decides(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = replace(
        make_plan(COMPARED), metrics=(Metric(name="error", label="error", unit="points"),)
    )
    rows = [2.0, 2.3, 1.7], [2.3, 2.0, 1.7001], [1.5, 2.1, 1.0]
    answers = answers_of(plan, fill(plan, errors(*rows)))
    assert "(1,000 seeds would probably not decide them all)" in answers.listed[0].sentence


@pytest.mark.parametrize(
    ("more", "margin"),
    [
        ("", "0.74 percentage points, the resolution of the test set"),
        ("min_effect: {error: 0.5}\n", "0.50 percentage points, `min_effect` of the suite"),
    ],
)
def test_equivalent_rows_name_their_margin(
    make_plan: Callable[..., Plan], fill: Callable, more: str, margin: str
) -> None:
    plan = make_plan(COMPARED + more)
    plan = with_class_counts(plan, {"test": (36,) * 10})
    results = fill(plan, errors(REFERENCE, [2.02, 2.09, 1.88], [2.1, 2.1, 1.9]))
    answers = answers_of(plan, results)
    assert answers.listed[0].sentence == (
        "no loss beats softmax: lgm(alpha=1) and lgm(alpha=0) are equivalent to softmax (they "
        f"differ by less than {margin})."
    )
    assert margin.replace("`", "") in " ".join(in_terminal(plan, results).split())


@pytest.mark.parametrize(
    ("unit", "amount"), [("s", "by 1.000 s ["), ("", "by 1.000 ["), ("%", "by 1.00 percentage")]
)
def test_an_improvement_is_positive_in_either_direction(
    make_plan: Callable[..., Plan], fill: Callable, unit: str, amount: str
) -> None:
    plan = make_plan(COMPARED)
    higher = Metric(name="error", label="speed", unit=unit, higher_is_better=True)
    rows = [2.0, 2.1, 1.9], [1.0, 1.15, 0.9], [3.0, 3.12, 2.88]
    answers = answers_of(replace(plan, metrics=(higher,)), fill(plan, errors(*rows)))
    [answer] = answers.listed
    assert answer.lead == "lgm(alpha=1)"
    assert answer.text.startswith(f"beats softmax {amount}"), answer.text
    low, high = map(float, answer.text.partition("[")[2].partition("]")[0].split(", "))
    assert 0 < low < 1 < high
    assert answers.note == "In brackets: 95 % interval, corrected for 2 comparisons (Holm)."


def test_columns_have_an_answer_each_and_long_lists_are_counted(
    make_plan: Callable[..., Plan],
) -> None:
    grid = [round(0.02 * i, 2) for i in range(40)]
    plan = make_plan(
        "variants: {2-D: {model: {feature_dim: 2}}, 8-D: {model: {feature_dim: 8}}}\n"
        f"reference: softmax\nlosses: [softmax, {{lgm: {{alpha: {{grid: {grid}}}}}}}]\n"
    )
    place = {row.label: i for i, row in enumerate(plan.rows)}
    results = {
        t.identity: result_of(t, (50 - place[t.row]) + 0.1 * ((place[t.row] * 7 + t.seed) % 5))
        for t in plan.trials
    }
    first, second = answers_of(plan, results).listed
    assert first.sentence.startswith("2-D: lgm(alpha=0.78) beats softmax by 40.")
    assert second.variant == "8-D"
    assert "; lgm(alpha=0.76), lgm(alpha=0.74), lgm(alpha=0.72) and " in first.text
    assert len(first.sentence) < 400
    reverse = {
        t.identity: result_of(t, 1 + place[t.row] + 0.1 * ((place[t.row] * 7 + t.seed) % 5))
        for t in plan.trials
    }
    assert answers_of(plan, reverse).listed[0].sentence == (
        "2-D: no loss beats softmax: 40 rows are worse."
    )


def test_one_seed_has_the_best_mean_without_a_test(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(f"seeds: [0]\n{COMPARED}")
    [answer] = answers_of(plan, fill(plan, errors([2], [1], [NAN]))).listed
    assert answer.sentence == (
        "lgm(alpha=0) has the best mean, 1.00 %, without a test: only one paired seed; not "
        "compared: lgm(alpha=1) (n=0, 1 of 1 diverged)."
    )


def test_without_a_reference_the_best_mean_is_named(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(TWO)
    [answer] = answers_of(plan, fill(plan, errors(REFERENCE, WORSE, BETTER))).listed
    assert answer.sentence == (
        "lgm(alpha=1) has the best mean, 1.01 ± 0.11 %, without a test: the suite names no "
        "reference row."
    )
    [answer] = answers_of(plan, fill(plan, errors(REFERENCE, WORSE, REFERENCE))).listed
    assert answer.sentence.startswith(
        "softmax and lgm(alpha=1) have the same best mean at the shown precision, 2.00 %, without"
    )
    narrowed = make_plan(COMPARED).narrowed("lgm*")
    results = {t.identity: result_of(t, 2.0 + len(t.row)) for t in narrowed.trials}
    [answer] = answers_of(narrowed, results).listed
    assert answer.text.endswith("without a test: the reference row softmax is not in this table")


def test_before_the_choice_there_is_no_answer(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan("selection: {holdout: 0.2}\nlosses: [{center: {weight: {grid: [0.1, 0.2]}}}]")
    [answer] = answers_of(plan, {}).listed
    assert answer.sentence == "no result on the test set yet; chosen so far: nothing."


def test_no_results_and_no_tables_have_no_answer() -> None:
    assert make_answers(()) == Answers()
