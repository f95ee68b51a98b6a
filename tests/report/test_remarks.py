"""Warnings and findings around a table."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lossbench.analysis.edges import EdgeChoice
from lossbench.analysis.tables import make_tables
from lossbench.planning.divergence import RULE
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report import render, terminal_table
from lossbench.report.build import build_report
from lossbench.report.escaping import markdown_sentence
from lossbench.report.facts import gather_facts
from lossbench.report.remarks import describe_edge, make_remarks
from lossbench.report.value_text import (
    format_count,
    format_value,
    table_legend,
)
from tests.analysis.made_up_tables import NAN, TWO, cell, errors, only_table
from tests.report.synthetic_report import GRID, result_of


def warnings_of(plan: Plan, results: Any) -> tuple[str, ...]:
    """Warnings of the first table."""
    return make_remarks(make_tables(PlanWithResults(plan, results)))[0].warnings


def test_results_of_different_versions_are_a_warning(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(TWO)
    results = dict(fill(plan, errors([1.5] * 3, [1.6] * 3, [1.7] * 3)))
    assert warnings_of(plan, results) == ()
    identity, result = next(iter(results.items()))
    environment = {**result.environment, "code": "abc"}
    results[identity] = result.model_copy(update={"environment": environment})
    [note] = warnings_of(plan, results)
    assert note.startswith(
        "the results are of different versions: code abc (1 of 9 trials), unknown"
    )


def test_each_column_has_a_sentence(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(f"{TWO}\nvariants: {{short: {{}}, long: {{recipe: {{epochs: 7}}}}}}\n")
    results = {trial.identity: result_of(trial, 2.0) for trial in plan.trials}
    first = make_remarks(make_tables(PlanWithResults(plan, results)))[0]
    assert first.findings[-2].startswith("Column short: recipe.epochs ")
    assert first.findings[-1] == "Column long: recipe.epochs 7."


def test_evaluations_that_are_not_measured_are_named_with_what_to_do(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(f"{TWO}\nevaluate: [error, top5_error, fgsm]\n")
    results = dict(fill(plan, errors([2, 2, NAN], [3] * 3, [1] * 3)))
    lacking = iter([("top5_error", "fgsm"), ("fgsm",)])
    for identity, result in list(results.items())[:2]:
        left = next(lacking)
        metrics = {name: value for name, value in result.metrics.items() if name not in left}
        update = {"unmeasured": left, "metrics": metrics}
        results[identity] = result.model_copy(update=update)
    found = PlanWithResults(plan, results)
    first, *others = [remarks.warnings for remarks in make_remarks(make_tables(found))]
    assert first[0] == (
        "not measured yet: top5_error (1 of 8 trained trials), fgsm (2 of 8 trained trials); "
        "lossbench run measures them, on the stored weights if there are any"
    )
    assert not any("measured" in line for warnings in others for line in warnings)
    assert (
        gather_facts(found, "c").progress == "9 of 9 trials run, 2 not fully measured, 1 diverged"
    )
    with io.StringIO() as shown:
        Console(file=shown, width=400).print(terminal_table(found))
        assert "not measured yet: top5_error" in shown.getvalue()


def test_held_out_trials_without_the_metric_of_the_selection_are_a_warning(
    make_plan: Callable[..., Plan], run_all: Callable[[Plan], Any]
) -> None:
    plan = make_plan(GRID)
    results = run_all(plan)
    for trial in plan.trials[:2]:
        update = {"unmeasured": ("error",), "metrics": {}}
        results[trial.identity] = results[trial.identity].model_copy(update=update)
    lines = "\n".join(warnings_of(plan, results))
    assert "held-out trials lack error, by which is chosen: the choice may still change" in lines
    assert f"2 of {len(plan.trials)} held-out trials lack" in lines
    assert "are missing" not in lines
    assert "lack" not in "\n".join(warnings_of(plan, run_all(plan)))


def test_a_diverged_trial_is_a_warning_with_seed_and_reason(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(TWO)
    results = fill(plan, errors([2, NAN, NAN], [3] * 3, [1] * 3))
    assert warnings_of(plan, results) == (
        "default: softmax with seeds 1, 2 diverged: the loss was not finite in epoch 4",
    )


def test_a_reason_may_have_braces(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(TWO)
    results = fill(plan, errors([2, 2, NAN], [3] * 3, [1] * 3))
    for identity, result in results.items():
        if result.status == "diverged":
            results[identity] = result.model_copy(update={"reason": "loss {nan} of {}"})
    assert warnings_of(plan, results) == (
        "default: softmax with seed 2 diverged: loss {nan} of {}",
    )


def test_trials_no_better_than_guessing_are_in_the_mean_and_named(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(TWO)
    results = dict(fill(plan, errors([35, 32, 41], [3] * 3, [1] * 3)))
    assert RULE not in table_legend(only_table(plan, results))
    for trial in plan.trials:
        if trial.row == "softmax" and trial.seed:
            right = f"right on {trial.seed} of 32 images"
            note = {"reason": f"no better than guessing: {right}"}
            results[trial.identity] = results[trial.identity].model_copy(update=note)
    table = only_table(plan, results)
    row = cell(table, "softmax")
    assert (format_value(row), format_count(row.summary)) == ("36.00 ± 4.58", "n=3")
    assert warnings_of(plan, results) == (
        "default: softmax with seeds 1, 2 is not shown to be better than always predicting the "
        "most frequent class (p > 0.05); it is included in the mean",
    )
    diverged = only_table(plan, fill(plan, errors([2, NAN, NAN], [3] * 3, [1] * 3)))
    assert table_legend(diverged).endswith(RULE)
    assert markdown_sentence(RULE) in render(
        PlanWithResults(plan, fill(plan, errors([2, NAN, NAN], [3] * 3, [1] * 3))), "markdown"
    )


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("table1_mnist_eror", "did you mean 'table1_mnist_error'"),
        ("table2_cifar10_error", "none is called default"),
    ],
)
def test_a_published_key_without_numbers_is_a_warning(
    make_plan: Callable[..., Plan], run_all: Callable, key: str, words: str
) -> None:
    plan = make_plan(f"published: {key}\nlosses: [softmax]\n")
    assert any(words in warning for warning in warnings_of(plan, run_all(plan)))


def test_selection_warns_at_the_edge_of_the_grid_only(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(
        "selection: {holdout: 0.2}\n"
        "losses: [{lgm: {alpha: {grid: [0.1, 0.3, 1.0]}, lambda: {grid: [0.1, 1.0, 10.0]}}}]\n"
    )
    values = {f"default/{row.label}": [5.0] * 3 for row in plan.rows}
    values["default/lgm(alpha=0.3,lambda=10)"] = [1.0] * 3
    [warning] = warnings_of(plan, fill(plan, values))
    assert warning == (
        "default: lgm chose lambda=10, the largest of the 3 values given, 0.1 to 10; the optimum "
        "may lie beyond: add larger values"
    )


def test_a_selection_without_enough_results_is_a_warning(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(
        "selection: {holdout: 0.2}\nlosses: [{center: {weight: {grid: [0.1, 0.2]}}}]\n"
    )
    values = {"default/center(weight=0.1)": [5, 5, None], "default/center(weight=0.2)": [5, NAN, 5]}
    warnings = warnings_of(plan, fill(plan, values))
    assert any("1 of 6 held-out trials are missing" in warning for warning in warnings)
    assert any("nothing chosen for center" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("edge", "text"),
    [
        (
            EdgeChoice("A", "center", "weight", 0.99, 0.01, 1.0, at_low=False, listed=None),
            "A: center chose weight=0.99, at the upper end of the range searched, 0.01 to 1; the "
            "optimum may lie beyond: search again with a larger high",
        ),
        (
            EdgeChoice("A", "center", "weight", 0.01, 0.01, 1.0, at_low=True, listed=3),
            "A: center chose weight=0.01, the smallest of the 3 values given, 0.01 to 1; the "
            "optimum may lie beyond: add smaller values",
        ),
    ],
)
def test_an_edge_is_described_with_its_range_and_what_to_do(edge: EdgeChoice, text: str) -> None:
    assert describe_edge(edge) == text


def test_warnings_are_in_every_format(
    make_plan: Callable[..., Plan], fill: Callable, tmp_path: Path
) -> None:
    plan = make_plan(
        "selection: {holdout: 0.2}\nlosses: [{center: {weight: {grid: [0.01, 0.1, 1.0]}}}]\n"
    )
    weights = {"0.01": [9.0] * 3, "0.1": [8.0] * 3, "1": [5.0] * 3}
    values = {f"default/center(weight={weight})": error for weight, error in weights.items()}
    found = PlanWithResults(plan, fill(plan, values))
    build_report(found, lambda *_: None, tmp_path, "lossbench run")
    seen = io.StringIO()
    Console(file=seen, width=300).print(terminal_table(found))
    texts = [(tmp_path / f"report.{end}").read_text(encoding="utf-8") for end in ("html", "md")]
    for text in (*texts, seen.getvalue()):
        assert "center chose weight=1, the largest of the 3 values given, 0.01 to 1" in text


def test_an_optimistic_metric_comes_last_and_has_a_warning(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan("seeds: [0]\nlosses: [softmax, lgm]\n")
    [error] = plan.metrics
    best = error.model_copy(update={"name": "best_error", "label": "best", "optimistic": True})
    results = {
        identity: result.model_copy(update={"metrics": {"error": 2.0, "best_error": 1.0}})
        for identity, result in run_all(plan).items()
    }
    tables = make_tables(PlanWithResults(replace(plan, metrics=(best, error)), results))
    assert [table.metric for table in tables] == ["error", "best_error"]
    first, second = make_remarks(tables)
    assert not any("too good on average" in line for line in first.warnings)
    [line] = [line for line in second.warnings if "too good on average" in line]
    assert line.startswith("best: ")
