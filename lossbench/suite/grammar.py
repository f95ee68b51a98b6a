"""Grammar of a loss's parameters: values, grids and searches.

lgm: {alpha: {grid: [0.1, 0.3]}, lambda: 0.1}                  # one row per combination
lgm: {alpha: {search: {low: 0.01, high: 3, log: true}}}        # a range
lgm: {alpha: {search: [0.01, 0.1, 1]}}                         # values to choose from
lgm: {alpha: 0.3, label: ours}                                 # printed name of its row
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
from lossbench.suite.schema import Component, LossEntry

MAX_ROWS = 1000
"""Maximum number of rows of one loss; a larger number is a mistake and could exhaust the memory."""
MAX_LABEL = 60
"""Maximum number of characters of a label."""
SEARCH_EXAMPLE = "alpha: {search: {low: 0.01, high: 1, log: true}}"


class SearchRange(Strict):
    """Numbers from low to high, sampled uniformly or, with `log`, log-uniformly."""

    low: float
    high: float
    log: bool = False


Space = SearchRange | tuple[Any, ...]
"""A range to search, or the values to choose from."""


def label_problem(label: str) -> str:
    """Reason why a text cannot be the label of a loss; empty if it can."""
    if not label.strip():
        return "should not be empty"
    if label != label.strip():
        return f"{label!r} should not begin or end with a space"
    if len(label) > MAX_LABEL:
        return f"should be at most {MAX_LABEL} characters, not {len(label)}"
    if "/" in label:
        return f"{label!r} should be without '/', which separates column and row in --only"
    if "`" in label:
        return f"{label!r} should be without '`', which marks code in the sentences of a report"
    if not label.isprintable():
        return f"{label!r} has characters that cannot be printed"
    return ""


def is_grid(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"grid"}


def is_search(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"search"}


def expand_grids(loss: LossEntry) -> list[LossEntry]:
    """`{alpha: {grid: [0.1, 0.3]}, lambda: 0.1}` -> one loss per combination."""
    axes = [
        [(key, choice) for choice in (value["grid"] if is_grid(value) else [value])]
        for key, value in loss.params.items()
    ]
    points = map(dict, itertools.product(*axes))
    return [LossEntry(name=loss.name, params=point, label=loss.label) for point in points]


def read_spaces(loss: Component) -> dict[str, Space]:
    """Searched parameter -> its space; the loss must have no `grammar_problems`."""
    return {
        key: read_space(value["search"]) for key, value in loss.params.items() if is_search(value)
    }


def grammar_problems(params: Mapping[str, Any]) -> list[Problem]:
    """Syntax problems of a loss's grids and searches, by parameter."""
    grids = {key: value["grid"] for key, value in params.items() if is_grid(value)}
    problems = [
        Problem((key, "grid"), "should be a list of at least one value")
        for key, choices in grids.items()
        if not (isinstance(choices, list) and choices)
    ]
    if not problems and (count := math.prod(map(len, grids.values()))) > MAX_ROWS:
        message = f"its grids give {count:,} rows; at most {MAX_ROWS:,} are allowed"
        problems.append(Problem((), message))
    for key, value in params.items():
        if isinstance(value, dict) and "search" in value and len(value) > 1:
            others = ", ".join(sorted(set(value) - {"search"}))
            message = f"{others} should be inside search: {{search: {{low: ..., high: ...}}}}"
            problems.append(Problem((key,), message))
        elif is_search(value):
            try:
                read_space(value["search"])
            except ValueError as error:
                problems.append(Problem((key, "search"), str(error)))
    if grids and any(map(is_search, params.values())):
        problems.append(Problem((), "has a grid and a search; use only one of them"))
    return problems


def explain_misplaced_grids(problems: Iterable[Problem]) -> list[Problem]:
    """The same problems, with a message on its valid place if a `grid` is misplaced."""
    message = "a grid is only allowed as the value of a loss parameter, and in `tune`"
    return [
        replace(problem, message=message)
        if isinstance(problem.value, Mapping) and "grid" in problem.value
        else problem
        for problem in problems
    ]


def read_space(value: Any) -> Space:
    """Read `{low: 0.01, high: 1, log: true}` or a list of values.

    Raises:
        ValueError: The value has neither form.
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
        limits = SearchRange.model_validate(value)
    except ValidationError as error:
        [first, *_] = validation_problems(error, lambda path: list(SearchRange.model_fields))
        raise ValueError(f"{first.key}: {first.message}") from None
    if limits.low >= limits.high:
        raise ValueError(f"low ({limits.low:g}) should be less than high ({limits.high:g})")
    if limits.log and limits.low <= 0:
        raise ValueError(f"on a logarithmic scale low should be above 0, not {limits.low:g}")
    return limits
