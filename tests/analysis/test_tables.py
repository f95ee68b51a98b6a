"""Tables: marks, missing and diverged trials, published numbers, the four formats."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from lossbench.analysis.published import matches
from lossbench.analysis.tables import Cell, Table, make_tables
from lossbench.planning.divergence import RULE
from lossbench.planning.plan import Plan
from lossbench.planning.rows import Row
from lossbench.planning.selection import PlanWithResults
from lossbench.report import render, terminal_table
from lossbench.report.escaping import latex_text, markdown_sentence, unsupported
from lossbench.suite.schema import Component
from tests.report.synthetic_report import GRID, result_of

NAN = math.nan
TWO = "losses: [softmax, {lgm: {alpha: {grid: [0.0, 1.0]}}}]\n"
MNIST = (
    "variants: {2-D: {model: {feature_dim: 2}}, own: {model: {feature_dim: 3}}}\n"
    "published: table1_mnist_error\n"
)


def only_table(plan: Plan, results: Any) -> Table:
    [table] = make_tables(PlanWithResults(plan, results))
    return table


def cell(table: Table, row: str, variant: str = "default") -> Cell:
    return table.cells[variant, row]


def best_rows(table: Table) -> set[str]:
    return {c.row.label for c in table.cells.values() if c.best}


def errors(softmax: Any, alpha0: Any, alpha1: Any) -> dict[str, Any]:
    return {
        "default/softmax": softmax,
        "default/lgm(alpha=0)": alpha0,
        "default/lgm(alpha=1)": alpha1,
    }


def test_the_lowest_error_is_best(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(TWO)
    table = only_table(plan, fill(plan, errors([2, 2.1, 2.2], [3, 3, 3], [1, 1.2, 1.1])))
    assert best_rows(table) == {"lgm(alpha=1)"}
    assert cell(table, "lgm(alpha=1)").value == "1.10 ± 0.10"
    assert cell(table, "lgm(alpha=1)").count == "n=3"
    assert table.title == "Test error, % of test images; mean ± std over 3 seeds"
    assert cell(table, "lgm(alpha=1)").interval == "95 % 0.85 to 1.35"
    assert cell(table, "lgm(alpha=0)").interval == ""  # equal by luck, no certainty


def test_results_of_different_versions_are_told(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(TWO)
    results = dict(fill(plan, errors([1.5] * 3, [1.6] * 3, [1.7] * 3)))
    assert only_table(plan, results).notes == ()
    identity, result = next(iter(results.items()))
    environment = {**result.environment, "code": "abc"}
    results[identity] = result.model_copy(update={"environment": environment})
    [note] = only_table(plan, results).notes
    assert note.startswith(
        "results of different versions meet here: code abc (1 of 9 trials), unknown"
    )


def test_ties_at_shown_precision_are_all_best(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(TWO)
    table = only_table(plan, fill(plan, errors([1.501] * 3, [1.499] * 3, [1.511] * 3)))
    assert best_rows(table) == {"softmax", "lgm(alpha=0)"}


@pytest.mark.parametrize(
    ("low", "count", "value"),
    [
        ([0.1, 0.1, NAN], "n=2, 1 of 3 diverged", "0.10 ± 0.00"),
        ([0.1, 0.1, None], "2/3 seeds", "0.10 ± 0.00"),
        ([0.1, NAN, None], "n=1, 1 of 3 diverged, 2/3 seeds", "0.10"),
        ([NAN, NAN, NAN], "n=0, 3 of 3 diverged", "–"),
        ([None, None, None], "0/3 seeds", "–"),
    ],
)
def test_an_incomplete_row_says_so_and_is_never_best(
    make_plan: Callable[..., Plan], fill: Callable, low: Any, count: str, value: str
) -> None:
    plan = make_plan(TWO)
    results = fill(plan, errors(low, [3, 3, 3], [2, 2, 2]))
    table = only_table(plan, results)
    assert best_rows(table) == {"lgm(alpha=1)"}
    assert (cell(table, "softmax").count, cell(table, "softmax").value) == (count, value)
    for format in ("markdown", "latex"):
        assert count in render(PlanWithResults(plan, results), format)
    assert count in in_terminal(plan, results)


def test_a_diverged_trial_is_noted_with_seed_and_reason(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(TWO)
    table = only_table(plan, fill(plan, errors([2, NAN, NAN], [3] * 3, [1] * 3)))
    assert table.notes == (
        "default: softmax diverged with seed 1, 2: the loss was not finite in epoch 4",
    )


def test_trials_no_better_than_guessing_are_in_the_mean_and_named(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(TWO)
    results = dict(fill(plan, errors([35, 32, 41], [3] * 3, [1] * 3)))
    assert RULE not in only_table(plan, results).legend
    for trial in plan.trials:
        if trial.row == "softmax" and trial.seed:
            right = f"right on {trial.seed} of 32 images"
            note = {"reason": f"no better than guessing: {right}"}
            results[trial.identity] = results[trial.identity].model_copy(update=note)
    table = only_table(plan, results)
    assert (cell(table, "softmax").value, cell(table, "softmax").count) == ("36.00 ± 4.58", "n=3")
    assert table.notes == (
        "default: softmax is no better than guessing with seed 1, 2, and in the mean",
    )
    diverged = only_table(plan, fill(plan, errors([2, NAN, NAN], [3] * 3, [1] * 3)))
    assert diverged.legend.endswith(RULE)
    assert markdown_sentence(RULE) in render(
        PlanWithResults(plan, fill(plan, errors([2, NAN, NAN], [3] * 3, [1] * 3))), "markdown"
    )


@pytest.mark.parametrize(
    ("label", "name", "params", "fits"),
    [
        ("lgm(alpha=1.0)", "lgm", {"alpha": 1, "lambda": 0.1}, True),
        ("lgm(alpha=1)", "lgm", {"alpha": 1.0, "lambda": 0.1}, True),
        ("lgm(alpha=1.0)", "lgm", {"alpha": 0.3, "lambda": 0.1}, False),
        ("lgm(alpha=1.0,lambda=0.1)", "lgm", {"alpha": 1.0, "lambda": 0.1}, True),
        ("lgm(beta=1.0)", "lgm", {"alpha": 1.0}, False),
        ("softmax", "softmax", {}, True),
        ("softmax", "l_softmax", {"margin": 4}, False),
        ("lgm(covariance=diagonal)", "lgm", {"covariance": "diagonal"}, True),
        ("lgm(alpha=1.0) error", "lgm", {"alpha": 1.0}, False),
    ],
)
def test_published_labels_match_by_name_and_number(
    label: str, name: str, params: dict[str, Any], fits: bool
) -> None:
    assert matches(label, Row("any", Component(name=name, params=params), {})) is fits


def test_published_numbers_stand_beside_the_same_variant_only(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan(MNIST + "losses: [softmax, triplet, {lgm: {alpha: 1}}]\n")
    results = run_all(plan)
    table = only_table(plan, results)
    number = cell(table, "lgm", "2-D").published
    assert number is not None
    assert (number.mean, number.std) == (1.17, 0.01)
    assert cell(table, "triplet", "2-D").published is None
    assert not table.has_published("own")
    assert "1.17 ± 0.01" in render(PlanWithResults(plan, results), "markdown")
    assert r"1.17 $\pm$ 0.01" in render(PlanWithResults(plan, results), "latex")


def test_an_ambiguous_published_number_is_not_shown(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan(MNIST + "losses: [softmax, {center: {weight: {grid: [0.1, 0.2]}}}]\n")
    table = only_table(plan, run_all(plan))
    assert cell(table, "softmax", "2-D").published is not None
    assert cell(table, "center(weight=0.1)", "2-D").published is None


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("table1_mnist_eror", "did you mean 'table1_mnist_error'"),
        ("table2_cifar10_error", "none is called default"),
    ],
)
def test_a_useless_published_key_is_noted(
    make_plan: Callable[..., Plan], run_all: Callable, key: str, words: str
) -> None:
    plan = make_plan(f"published: {key}\nlosses: [softmax]\n")
    table = only_table(plan, run_all(plan))
    assert any(words in note for note in table.notes)


def test_published_errors_stand_beside_no_other_metric(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan(MNIST + "evaluate: [error, top5_error]\nlosses: [softmax, triplet]\n")
    first, second = make_tables(PlanWithResults(plan, run_all(plan)))
    assert (first.metric, second.metric) == ("error", "top5_error")
    assert cell(first, "softmax", "2-D").published is not None
    assert cell(second, "softmax", "2-D").published is None


def test_json_contract(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(TWO)
    text = render(
        PlanWithResults(plan, fill(plan, errors([1 / 3, NAN, 0.1], [3, None, None], [NAN] * 3))),
        "json",
    )
    objects = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    keys = [
        "suite",
        "variant",
        "loss",
        "params",
        "metric",
        "values",
        "mean",
        "std",
        "n",
        "diverged",
    ]
    assert all(list(o) == keys for o in objects)
    assert len(text.splitlines()) == len(objects) + 2
    first, second, third = objects
    assert first["values"] == [1 / 3, 0.1]
    assert first["mean"] == pytest.approx((1 / 3 + 0.1) / 2, rel=1e-15)
    assert (first["n"], first["diverged"], first["params"]) == (2, 1, {})
    assert (second["loss"], second["n"], second["mean"], second["std"]) == ("lgm", 1, 3.0, None)
    assert second["params"] == {"alpha": 0.0, "lambda": 0.1, "covariance": "identity"}
    assert (third["values"], third["n"], third["mean"], third["diverged"]) == ([], 0, None, 3)


def test_values_are_in_the_suites_seed_order(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan("seeds: [7, 2]\nlosses: [softmax]\n")
    results = fill(plan, {"default/softmax": [5.0, 4.0]})
    backwards = dict(reversed(results.items()))
    assert json.loads(render(PlanWithResults(plan, backwards), "json"))[0]["values"] == [5.0, 4.0]


def test_csv_is_tidy(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(TWO)
    text = render(
        PlanWithResults(plan, fill(plan, errors([1, 2, 3], [3, None, None], [NAN] * 3))), "csv"
    )
    first, second, third = csv.DictReader(io.StringIO(text))
    assert (float(first["mean"]), float(first["std"]), first["n"]) == (2, 1, "3")
    assert float(first["ci_low"]) == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-5)
    assert json.loads(first["values"]) == [1, 2, 3]
    assert json.loads(second["params"])["alpha"] == 0
    assert (second["mean"], second["std"], second["ci_high"]) == ("3.0", "", "")
    assert (third["mean"], third["diverged"], third["n"]) == ("", "3", "0")


def test_latex_marks_the_best_and_escapes(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan("losses: [softmax, l_softmax]\n")
    results = fill(plan, {"default/softmax": [2, 2, 2], "default/l_softmax": [1, 1, 1]})
    text = render(PlanWithResults(plan, results), "latex")
    assert r"l\_softmax & \textbf{1.00 $\pm$ 0.00} \\" in text
    assert r"softmax & 2.00 $\pm$ 0.00 \\" in text
    assert r"\toprule" in text
    assert r"\% of test images" in text


def test_latex_escapes_every_special_character() -> None:
    expected = r"\textbackslash{}\{\}\$\&\#\_\%\textasciitilde{}\textasciicircum{}"
    assert latex_text("\\{}$&#_%~^") == expected
    assert latex_text("<a|b>") == r"\textless{}a\textbar{}b\textgreater{}"


def test_latex_has_greek_letters_and_names_what_pdflatex_lacks(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    assert latex_text("ε = 0.3, λ ≥ Ω") == r"$\varepsilon$ = 0.3, $\lambda$ $\geq$ $\Omega$"
    assert unsupported("ε = 0.3 ± 1, größe, Łódź – ‘a’ → −1") == ""
    assert unsupported("猫 and 犬, 猫; кот") == "猫犬кот"
    names = "variants: {猫_1: {}, plain: {}}\n"
    plan = make_plan(f"{names}losses: [softmax, l_softmax]\n")
    text = render(PlanWithResults(plan, {}), "latex")
    assert "font that has 猫\n\\begin{table}" in text
    assert r"loss & 猫\_1 & plain \\" in text
    assert "lualatex" not in render(PlanWithResults(make_plan("losses: [softmax]\n"), {}), "latex")


def test_markdown_is_a_pipe_table_with_the_best_in_bold(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(TWO)
    lines = render(
        PlanWithResults(plan, fill(plan, errors([2] * 3, [3] * 3, [1] * 3))), "markdown"
    ).splitlines()
    assert "| loss | Test error |" in lines
    assert "| lgm(alpha=1) | **1.00 ± 0.00** (n=3) |" in lines
    assert "| softmax | 2.00 ± 0.00 (n=3) |" in lines


def in_terminal(plan: Plan, results: Any) -> str:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(terminal_table(PlanWithResults(plan, results)))
    return console.export_text()


def test_terminal_table_shows_labels_literally(
    make_plan: Callable[..., Plan], run_all: Callable
) -> None:
    plan = make_plan("losses: [softmax, {lgm: {covariance: {grid: ['[red]', '[b]']}}}]\n")
    assert "lgm(covariance=[red])" in in_terminal(plan, run_all(plan))


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
    assert held_out.legend == "Chosen: the best mean of its loss in this column."
    assert not best_rows(held_out)
    assert (test.metric, test.unit) == ("error", "% of test images")
    assert {row.label for row in test.rows} == chosen | {"softmax"}
    assert best_rows(test) == {"lgm(alpha=1,lambda=1)"}


def test_selection_warns_at_the_edge_of_the_grid_only(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(
        "selection: {holdout: 0.2}\n"
        "losses: [{lgm: {alpha: {grid: [0.1, 0.3, 1.0]}, lambda: {grid: [0.1, 1.0, 10.0]}}}]\n"
    )
    values = {f"default/{row.label}": [5.0] * 3 for row in plan.rows}
    values["default/lgm(alpha=0.3,lambda=10)"] = [1.0] * 3
    held_out, _ = make_tables(PlanWithResults(plan, fill(plan, values)))
    [warning] = held_out.notes
    assert warning == (
        "default: lgm chose lambda=10, the largest of the 3 values given, 0.1 to 10; the optimum "
        "may lie beyond: add larger values"
    )


def test_selection_without_enough_results_chooses_nothing_and_says_so(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(
        "selection: {holdout: 0.2}\nlosses: [{center: {weight: {grid: [0.1, 0.2]}}}]\n"
    )
    values = {"default/center(weight=0.1)": [5, 5, None], "default/center(weight=0.2)": [5, NAN, 5]}
    [held_out] = make_tables(PlanWithResults(plan, fill(plan, values)))
    assert not any(c.chosen for c in held_out.cells.values())
    assert any("1 of 6 held-out trials are missing" in note for note in held_out.notes)
    assert any("nothing chosen for center" in note for note in held_out.notes)


def test_rows_chosen_in_one_variant_only_are_blank_in_the_other(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan(
        "variants: {A: {model: {feature_dim: 2}}, B: {model: {feature_dim: 8}}}\n"
        "selection: {holdout: 0.2}\nlosses: [{center: {weight: {grid: [0.1, 0.2]}}}]\n"
    )
    values = {
        "A/center(weight=0.1)": [1] * 3,
        "A/center(weight=0.2)": [2] * 3,
        "B/center(weight=0.1)": [2] * 3,
        "B/center(weight=0.2)": [1] * 3,
    }
    _, test = make_tables(PlanWithResults(plan, fill(plan, values)))
    assert set(test.cells) == {("A", "center(weight=0.1)"), ("B", "center(weight=0.2)")}
    assert cell(test, "center(weight=0.1)", "A").count == "0/3 seeds"
    assert "not chosen on the held-out part" in test.legend


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


def test_the_test_set_has_no_say_in_the_choice(make_plan: Callable[..., Plan]) -> None:
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
    assert cell(test, winner.label).value == "5.00 ± 0.00"
