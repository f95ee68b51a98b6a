"""Grids and searches as a suite writes them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from lossbench.errors import Problem
from lossbench.suite.grammar import (
    SearchRange,
    expand_grids,
    explain_misplaced_grids,
    grammar_problems,
    read_spaces,
)
from lossbench.suite.schema import Component, LossEntry


def test_grids_are_combined() -> None:
    params = {"a": {"grid": [1, 2]}, "b": 3, "c": {"grid": [4, 5]}}
    points = expand_grids(LossEntry(name="x", params=params, label="y"))
    assert {p.entry for p in points} == {"y"}
    assert [tuple(p.params.values()) for p in points] == list(
        itertools.product([1, 2], [3], [4, 5])
    )


def test_a_search_is_a_range_or_a_list() -> None:
    params = {"alpha": {"search": {"low": 1, "high": 2.0}}, "lambda": {"search": [1, 2]}, "m": 4}
    assert grammar_problems(params) == []
    spaces = read_spaces(Component(name="lgm", params=params))
    assert spaces == {"alpha": SearchRange(low=1, high=2), "lambda": (1, 2)}


@pytest.mark.parametrize(
    ("params", "key", "message"),
    [
        ({"alpha": {"grid": []}}, "alpha.grid", "list of at least one value"),
        ({"alpha": {"grid": 0.1}}, "alpha.grid", "list of at least one value"),
        ({"a": {"grid": [1] * 100}, "b": {"grid": [1] * 100}}, "", "10,000 rows"),
        ({"alpha": {"search": "0.1"}}, "alpha.search", "should be {low"),
        ({"alpha": {"search": [1]}}, "alpha.search", "two values or more"),
        ({"alpha": {"search": [1, 1]}}, "alpha.search", "a value twice"),
        ({"alpha": {"search": {"low": 2, "high": 1}}}, "alpha.search", "should be less than"),
        ({"alpha": {"search": {"low": 1, "high": 2}, "log": True}}, "alpha", "inside search"),
        ({"a": {"grid": [1]}, "b": {"search": [1, 2]}}, "", "use only one of them"),
    ],
)
def test_messages_name_the_parameter(params: dict[str, Any], key: str, message: str) -> None:
    [problem] = grammar_problems(params)
    assert problem.key == key
    assert message in problem.message


def test_only_a_misplaced_grid_is_explained() -> None:
    number = Problem(("epochs",), "should be a valid integer, not 'a'", "a")
    grid = Problem(("epochs",), "should be a valid integer", {"grid": [1, 2]})
    assert explain_misplaced_grids([number, grid]) == [
        number,
        Problem(
            ("epochs",), "a grid is only allowed as the value of a loss parameter, and in `tune`"
        ),
    ]
