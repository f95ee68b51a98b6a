"""Chosen parameters and tuned recipe keys at the edge of the values that the suite gives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lossbench.planning.plan import Plan
from lossbench.planning.search import Search
from lossbench.planning.selection import Chosen
from lossbench.planning.tuning import tuned_spaces, tuned_values
from lossbench.suite.grammar import SearchRange

EDGE = 0.05
"""Fraction of a searched range, on the scale of the search, that counts as its edge at each end."""
MIN_LISTED = 3
"""Number of listed values of a tuned key below which no value is at an edge: of two values, as in
`weight_decay: {grid: [0, 5.0e-4]}`, every one would be."""
NUMBER = (int, float)


@dataclass(frozen=True)
class EdgeChoice:
    """A chosen number beyond which the optimum may lie.

    Attributes:
        variant: Name of the column.
        entry: Name of the row's entry in the suite; see `Row.entry`.
        parameter: Name of the parameter, or dotted key of the recipe.
        value: Chosen value.
        low, high: Smallest and largest value that the suite gives.
        at_low: Whether the value is at the low end.
        listed: Number of values given one by one; None if a range is searched.
    """

    variant: str
    entry: str
    parameter: str
    value: float
    low: float
    high: float
    at_low: bool
    listed: int | None


def edge_choices(plan: Plan, chosen: Chosen) -> Iterator[EdgeChoice]:
    """Chosen numbers at an edge.

    An end of a range that is the parameter's own limit, for example a margin of 0, is not an
    edge, because no values are beyond it.
    """
    for (variant, entry), row in chosen.items():
        for key, value in row.varied.items():
            given = _given(plan, entry, key)
            if given is None or not _is_number(value):
                continue
            at_low = given.edge(value, plan.limits.get((row.loss.name, key), (None, None)))
            if at_low is not None:
                low, high = given.ends
                listed = None if given.spans else len(set(given.values))
                yield EdgeChoice(variant, entry, key, value, low, high, at_low, listed)


def searched_on_log(plan: Plan, entry: str) -> set[str]:
    """Parameters and recipe keys that the suite searches for an entry on a logarithmic scale."""
    searches = (search for search in plan.searches if search.entry == entry)
    spaces = (item for search in searches for item in search.all_spaces.items())
    return {key for key, space in spaces if isinstance(space, SearchRange) and space.log}


@dataclass(frozen=True)
class _Given:
    """The numbers that a suite gives for a parameter.

    Attributes:
        values: Numbers listed one by one.
        spans: Searched ranges.
    """

    values: tuple[float, ...]
    spans: tuple[SearchRange, ...]

    @property
    def ends(self) -> tuple[float, float]:
        """Smallest and largest number."""
        ends = [*self.values, *(s.low for s in self.spans), *(s.high for s in self.spans)]
        return min(ends), max(ends)

    def edge(self, value: float, limits: tuple[float | None, float | None]) -> bool | None:
        """Whether a value is at the low (True) or high (False) edge; None if at neither."""
        low, high = self.ends
        position = self._position(value, low, high)
        margin = EDGE if self.spans else 0.0
        if low == high or (margin < position < 1 - margin):
            return None
        at_low = position <= margin
        at_limit = low == limits[0] if at_low else high == limits[1]
        return None if at_limit else at_low

    def _position(self, value: float, low: float, high: float) -> float:
        """Position of a value between low (0) and high (1), on the scale of the search."""
        if any(span.log for span in self.spans) and low > 0:
            value, low, high = (math.log(number) for number in (value, low, high))
        return (value - low) / (high - low) if high > low else 0.0


def _given(plan: Plan, entry: str, key: str) -> _Given | None:
    """Numbers that a suite gives for a parameter of an entry; None if not all are numbers."""
    values: list[Any] = []
    spans = []
    if key in plan.suite.tune:
        space = tuned_spaces(plan.suite).get(key)
        if isinstance(space, SearchRange):
            return _Given((), (space,))
        values = tuned_values(plan.suite, key)
        few = len(values) < MIN_LISTED
        return None if few or not all(map(_is_number, values)) else _Given(tuple(values), ())
    for loss in plan.losses:
        if loss.entry != entry:
            continue
        if isinstance(loss, Search):
            space = loss.spaces.get(key, (loss.loss.params[key],))
            if isinstance(space, SearchRange):
                spans.append(space)
            else:
                values += space
        else:
            values.append(loss.params[key])
    return _Given(tuple(values), tuple(spans)) if all(map(_is_number, values)) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, NUMBER) and not isinstance(value, bool)
