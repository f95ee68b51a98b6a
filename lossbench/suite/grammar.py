"""Grammar of a loss's parameters: values, grids and searches.

lgm: {alpha: {grid: [0.1, 0.3]}, lambda: 0.1}                  # one row per combination
lgm: {alpha: {search: {low: 0.01, high: 3, log: true}}}        # a range
lgm: {alpha: {search: [0.01, 0.1, 1]}}                         # values to choose from
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from lossbench.errors import Problem, validation_problems
from lossbench.records import Strict
from lossbench.suite.schema import Component

MAX_ROWS = 1000
"""Maximum number of rows of one loss; more are a mistake, and would fill the memory."""
SEARCH_EXAMPLE = "alpha: {search: {low: 0.01, high: 1, log: true}}"


class SearchRange(Strict):
    """Numbers from low to high, evenly or on a logarithmic scale."""

    low: float
    high: float
    log: bool = False


Space = SearchRange | tuple[Any, ...]
"""A range to search, or the values to choose from."""


def is_grid(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"grid"}


def is_search(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"search"}


def expand_grids(loss: Component) -> list[Component]:
    """`{alpha: {grid: [0.1, 0.3]}, lambda: 0.1}` -> one loss per combination."""
    axes = [
        [(key, choice) for choice in (value["grid"] if is_grid(value) else [value])]
        for key, value in loss.params.items()
    ]
    return [Component(name=loss.name, params=dict(point)) for point in itertools.product(*axes)]


def read_spaces(loss: Component) -> dict[str, Space]:
    """Searched parameter -> its space, of a loss without `grammar_problems`."""
    return {
        key: _read_space(value["search"]) for key, value in loss.params.items() if is_search(value)
    }


def grammar_problems(params: Mapping[str, Any]) -> list[Problem]:
    """Problems of the form of a loss's grids and searches, by parameter."""
    grids = {key: value["grid"] for key, value in params.items() if is_grid(value)}
    problems = [
        Problem((key, "grid"), "should be a list of at least one value")
        for key, choices in grids.items()
        if not (isinstance(choices, list) and choices)
    ]
    if not problems and (count := math.prod(map(len, grids.values()))) > MAX_ROWS:
        message = f"its grids make {count:,} rows; at most {MAX_ROWS:,} are allowed"
        problems.append(Problem((), message))
    for key, value in params.items():
        if isinstance(value, dict) and "search" in value and len(value) > 1:
            others = ", ".join(sorted(set(value) - {"search"}))
            message = f"{others} should be inside search: {{search: {{low: ..., high: ...}}}}"
            problems.append(Problem((key,), message))
        elif is_search(value):
            try:
                _read_space(value["search"])
            except ValueError as error:
                problems.append(Problem((key, "search"), str(error)))
    if grids and any(map(is_search, params.values())):
        problems.append(Problem((), "has a grid and a search; give it one or the other"))
    return problems


def explain_misplaced_grids(problems: Iterable[Problem]) -> list[Problem]:
    """The problems, with the reason where a grid is given to something that takes none."""
    message = "a grid stands alone, on a parameter of a loss"
    return [
        replace(problem, message=message)
        if isinstance(problem.value, Mapping) and "grid" in problem.value
        else problem
        for problem in problems
    ]


def _read_space(value: Any) -> Space:
    """`{low: 0.01, high: 1, log: true}`, or a list of values.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, list):
        if len(value) < 2 or any(isinstance(v, dict | list) or v is None for v in value):
            raise ValueError("should be a list of two values or more")
        if len(set(map(repr, value))) < len(value):
            raise ValueError("has a value twice")
        return tuple(value)
    if not isinstance(value, dict):
        raise ValueError("should be {low: ..., high: ..., log: true|false}, or a list of values")
    try:
        span = SearchRange.model_validate(value)
    except ValidationError as error:
        [first, *_] = validation_problems(error, lambda path: list(SearchRange.model_fields))
        raise ValueError(f"{first.key}: {first.message}") from None
    if span.low >= span.high:
        raise ValueError(f"low ({span.low:g}) should be less than high ({span.high:g})")
    if span.log and span.low <= 0:
        raise ValueError(f"on a logarithmic scale low should be above 0, not {span.low:g}")
    return span
