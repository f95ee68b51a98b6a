"""Tables: values, best rows, missing and diverged trials, selection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from tests.analysis.made_up_tables import NAN, TWO, best_rows, cell, errors, only_table
from tests.report.synthetic_report import GRID, result_of


def test_the_lowest_error_is_best(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(TWO)
    table = only_table(plan, fill(plan, errors([2, 2.1, 2.2], [3, 3, 3], [1, 1.2, 1.1])))
    assert best_rows(table) == {"lgm(alpha=1)"}
    assert cell(table, "lgm(alpha=1)").summary.mean == pytest.approx(1.1)
    assert (table.label, table.unit, table.seeds) == ("Test error", "% of test images", 3)


def test_ties_at_shown_precision_are_all_best(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(TWO)
    table = only_table(plan, fill(plan, errors([1.501] * 3, [1.499] * 3, [1.511] * 3)))
    assert best_rows(table) == {"softmax", "lgm(alpha=0)"}


@pytest.mark.parametrize("low", [[0.1, 0.1, NAN], [0.1, 0.1, None], [NAN, NAN, NAN], [None] * 3])
def test_an_incomplete_row_is_never_best(
    make_plan: Callable[..., Plan], fill: Callable, low: Any
) -> None:
    plan = make_plan(TWO)
    table = only_table(plan, fill(plan, errors(low, [3, 3, 3], [2, 2, 2])))
    assert best_rows(table) == {"lgm(alpha=1)"}
    summary = cell(table, "softmax").summary
    assert (summary.planned, summary.complete) == (3, False)


def test_selection_shows_the_held_out_grid_and_then_the_chosen(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan(GRID)
    held_out, test = make_tables(PlanWithResults(plan, run_all(plan)))
    assert held_out.metric == "holdout_error"
    assert held_out.unit == "% of held-out training images"
    assert len(held_out.rows) == 13
    chosen = {c.row.label for c in held_out.cells.values() if c.chosen}
    assert chosen == {"center(weight=0.01)", "lgm(alpha=1,lambda=1)"}  # softmax has one row
    assert not best_rows(held_out)
    assert (test.metric, test.unit) == ("error", "% of test images")
    assert {row.label for row in test.rows} == chosen | {"softmax"}
    assert best_rows(test) == {"lgm(alpha=1,lambda=1)"}


def test_selection_without_enough_results_chooses_nothing(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(
        "selection: {holdout: 0.2}\nlosses: [{center: {weight: {grid: [0.1, 0.2]}}}]\n"
    )
    values = {"default/center(weight=0.1)": [5, 5, None], "default/center(weight=0.2)": [5, NAN, 5]}
    [held_out] = make_tables(PlanWithResults(plan, fill(plan, values)))
    assert not any(c.chosen for c in held_out.cells.values())


def test_the_last_epochs_number_is_shown_and_not_the_best(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan("losses: [softmax]\n")
    results = fill(plan, {"default/softmax": [3.0, 3.1, 3.2]})
    for identity, result in results.items():
        best, *others = result.history
        best = best.model_copy(update={"metrics": {**best.metrics, "test_error": 0.5}})
        results[identity] = result.model_copy(update={"history": (best, *others)})
    table = only_table(plan, results)
    assert cell(table, "softmax").summary.values == (3.0, 3.1, 3.2)


def test_the_choice_ignores_the_test_set(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(
        "seeds: [0, 1]\nselection: {holdout: 0.2, compare: [center: {weight: 0.1}]}\n"
        "losses: [{center: {weight: {grid: [0.1, 0.2]}}}]\n"
    )
    loser, winner = plan.rows  # on the held-out part, and the other way round on the test set
    plan = replace(plan, compared=(loser,))
    results = {t.identity: result_of(t, 2.0 if t.row == loser.label else 1.0) for t in plan.trials}
    for seed in plan.suite.seeds:
        for row, error in ((loser, 0.1), (winner, 5.0)):
            trial = plan.trial(row, "default", seed)
            results[trial.identity] = result_of(trial, error)
    held_out, test = make_tables(PlanWithResults(plan, results))
    assert [c.row.label for c in held_out.cells.values() if c.chosen] == [winner.label]
    assert cell(test, winner.label).summary.mean == 5
