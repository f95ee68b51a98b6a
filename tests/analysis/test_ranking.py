"""Rankings over several suites."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lossbench.analysis.ranking import rank_suites
from lossbench.errors import RequestError
from tests.synthetic_plans import MakeSuite


def test_few_columns_decide_nothing(make_suite: MakeSuite) -> None:
    losses = "[softmax, center, lgm]"
    found = rank_suites(
        [
            make_suite("a", losses, {"softmax": 3, "center": 2, "lgm": 1}),
            make_suite("b", losses, {"softmax": 30, "center": 30, "lgm": 10}),
        ]
    )
    assert [(r.label, r.mean, r.ranks) for r in found.listed] == [
        ("lgm", 1, (1, 1)),
        ("center", 2.25, (2, 2.5)),
        ("softmax", 2.75, (3, 2.5)),
    ]
    assert not found.significant_pairs
    assert found.groups == ((0, 2),)
    assert found.columns_to_decide == 7


def test_enough_columns_decide(make_suite: MakeSuite) -> None:
    names = "abcdefgh"
    found = rank_suites(
        [
            make_suite(name, "[softmax, lgm]", {"softmax": 3.0 + i, "lgm": 1.0 + 0.5 * i})
            for i, name in enumerate(names)
        ]
    )
    [pair] = found.pairs
    assert (pair.better, pair.other, pair.columns_better, pair.columns_worse) == (
        "lgm",
        "softmax",
        8,
        0,
    )
    assert pair.p_holm == pytest.approx(2 / 2**8)
    assert found.groups == ()


def test_rows_of_a_grid_are_matched_by_their_parameters(make_suite: MakeSuite) -> None:
    grid = "[softmax, {lgm: {alpha: {grid: [0.1, 0.3]}}}]"
    other = "[softmax, {lgm: {alpha: {grid: [0.3, 1.0]}}}]"
    found = rank_suites(
        [
            make_suite("a", grid, {"softmax": 3, "lgm(alpha=0.1)": 1, "lgm(alpha=0.3)": 2}),
            make_suite("b", other, {"softmax": 3, "lgm(alpha=0.3)": 2, "lgm(alpha=1)": 1}),
        ]
    )
    assert [r.label for r in found.listed] == ["lgm(alpha=0.3)", "softmax"]
    assert found.unranked == {"lgm(alpha=0.1)": 1, "lgm(alpha=1)": 1}


def test_a_default_that_is_left_out_is_one_row_of_a_grid(make_suite: MakeSuite) -> None:
    """`class_weights` is not among the parameters of the row without weights, which comes first."""
    grid = "[lgm, softmax, softmax: {class_weights: {grid: [balanced, class_balanced]}}]"
    errors = {
        "lgm": 4,
        "softmax": 3,
        "softmax(class_weights=balanced)": 2,
        "softmax(class_weights=class_balanced)": 1,
    }
    found = rank_suites([make_suite(name, grid, errors) for name in ("a", "b")])
    assert [r.label for r in found.listed] == list(reversed(errors))


def test_a_chosen_row_counts_as_its_loss(make_suite: MakeSuite) -> None:
    chosen = "[softmax, {lgm: {alpha: {grid: [0.1, 0.3]}}}]"
    found = rank_suites(
        [
            make_suite(
                "a",
                chosen,
                {"softmax": 3, "lgm(alpha=0.1)": 1, "lgm(alpha=0.3)": 2},
                "evaluate: [error]\nselection: {holdout: 0.2}\n",
            ),
            make_suite("b", "[softmax, {lgm: {alpha: 1.0}}]", {"softmax": 3, "lgm": 2}),
        ]
    )
    assert [r.label for r in found.listed] == ["lgm", "softmax"]
    assert [cell.row.loss.params["alpha"] for cell in found.listed[0].cells] == [0.1, 1.0]
    assert found.changed == ("lgm",)


def test_losses_and_columns_without_results_are_left_out(make_suite: MakeSuite) -> None:
    losses = "[softmax, center, lgm]"
    whole = make_suite("a", losses, {"softmax": 3, "center": 2, "lgm": math.nan})
    part = make_suite("b", losses, {"softmax": 3, "center": None, "lgm": 1})
    empty = make_suite("c", losses, {"softmax": None, "center": None, "lgm": None})
    found = rank_suites([whole, part, empty])
    assert [(r.label, r.ranks) for r in found.listed] == [("softmax", (1, 2)), ("lgm", (2, 1))]
    assert found.left_out == ("c · error: left out, it has no result",)
    assert found.unranked == {"center": 1}
    with pytest.raises(RequestError, match="nothing to rank: c · error: left out"):
        rank_suites([empty])
    lone = make_suite("d", "[lgm]", {"lgm": 1})
    both = make_suite("e", "[lgm, softmax]", {"lgm": 1, "softmax": 2})
    with pytest.raises(RequestError, match=r"only lgm has a result .* 2 columns"):
        rank_suites([both, lone])
    with pytest.raises(RequestError, match="--metric eror: no suite ranks rows by it"):
        rank_suites([whole], ["eror"])


def test_rows_are_matched_by_their_labels(make_suite: MakeSuite) -> None:
    ours = "[softmax, {lgm: {label: ours, alpha: 0.3}}, {lgm: {label: b, alpha: %s}}]"
    errors = {"softmax": 3.0, "ours": 1.0, "b": 2.0}
    found = rank_suites([make_suite(n, ours % i, errors) for i, n in enumerate("xy")])
    assert [row.label for row in found.listed] == ["ours", "b", "softmax"]
    assert found.changed == ("b",)


def test_one_label_of_two_losses_is_two_rows(make_suite: MakeSuite) -> None:
    suites = [
        make_suite(name, f"[softmax, center, {{{loss}: {{label: ours}}}}]", errors)
        for name, loss, errors in (
            ("x", "lgm", {"softmax": 3.0, "center": 2.0, "ours": 1.0}),
            ("y", "triplet", {"softmax": 3.0, "center": 2.0, "ours": 1.0}),
        )
    ]
    found = rank_suites(suites)
    assert [row.label for row in found.listed] == ["center", "softmax"]
    assert found.unranked == {"ours [lgm]": 1, "ours [triplet]": 1}


def test_an_optimistic_metric_is_ranked_only_if_it_is_named(make_suite: MakeSuite) -> None:
    found = make_suite("x", "[softmax, lgm]", {"softmax": 3.0, "lgm": 1.0})
    [error] = found.plan.metrics
    best = error.model_copy(update={"name": "best_error", "optimistic": True})
    results = {
        identity: result.model_copy(update={"metrics": {"error": 1.0, "best_error": 1.0}})
        for identity, result in found.results.items()
    }
    both = replace(found, plan=replace(found.plan, metrics=(best, error)), results=results)
    assert [column.metric for column in rank_suites([both]).columns] == ["error"]
    named = rank_suites([both], ["best_error"])
    assert [column.metric for column in named.columns] == ["best_error"]
