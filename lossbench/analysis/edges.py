"""What a suite gives for a parameter, and whether a chosen number is at the edge of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lossbench.planning.plan import Plan
from lossbench.planning.search import Search
from lossbench.planning.selection import Chosen, Stage
from lossbench.suite.grammar import Span

EDGE = 0.05
"""Outer share of a searched range that counts as its edge, at either end, on the search's scale."""
NUMBER = (int, float)


def edge_warnings(plan: Plan, chosen: Chosen) -> list[str]:
    """One line for each chosen number beyond which the optimum may lie.

    An end of a range that is the parameter's own limit, such as a margin of 0, is no edge: there
    is nothing beyond.
    """
    lines = []
    for (variant, name), row in chosen.items():
        for key, value in row.varied.items():
            given = _given(plan, name, key)
            if given is None or not _is_number(value):
                continue
            limits = plan.limits.get((name, key), (None, None))
            if warning := given.warning(value, limits):
                lines.append(f"{variant}: {name} chose {key}={value:g}, {warning}")
    return lines


def selection_notes(plan: Plan, holdout: Stage, chosen: Chosen) -> list[str]:
    """Warnings about the choice: numbers at an edge, and trials that are missing."""
    lines = [*plan.search_notes, *edge_warnings(plan, chosen)]
    if holdout.missing:
        lines.append(
            f"{holdout.missing} of {len(holdout.trials)} held-out trials are missing: "
            "the choice may still change"
        )
    names = dict.fromkeys(row.loss.name for row in plan.rows)
    lines += [
        f"{variant}: nothing chosen for {name}, because no row of it finished all its seeds"
        for variant in plan.suite.variants
        for name in names
        if (variant, name) not in chosen
    ]
    return lines


def searched_on_log(plan: Plan, name: str) -> set[str]:
    """Parameters of a loss that the suite searches on a logarithmic scale."""
    searches = (search for search in plan.searches if search.loss.name == name)
    spaces = (item for search in searches for item in search.spaces.items())
    return {key for key, space in spaces if isinstance(space, Span) and space.log}


@dataclass(frozen=True)
class _Given:
    """The numbers that a suite gives for a parameter.

    Attributes:
        values: Numbers listed one by one.
        spans: Ranges to search.
    """

    values: tuple[float, ...]
    spans: tuple[Span, ...]

    def warning(self, value: float, limits: tuple[float | None, float | None]) -> str:
        """Why a value is at the edge and what to do; empty if it is not."""
        ends = [*self.values, *(s.low for s in self.spans), *(s.high for s in self.spans)]
        low, high = min(ends), max(ends)
        at = self._position(value, low, high)
        room = EDGE if self.spans else 0.0
        if low == high or (room < at < 1 - room):
            return ""
        below = at <= room
        if (low if below else high) == limits[0 if below else 1]:
            return ""
        size = "smaller" if below else "larger"
        if self.spans:
            end, key = ("lower", "low") if below else ("upper", "high")
            return (
                f"at the {end} end of the range searched, {low:g} to {high:g}; the optimum may lie "
                f"beyond: search again with a {size} {key}"
            )
        which = "smallest" if below else "largest"
        return (
            f"the {which} of the {len(set(self.values))} values given, {low:g} to {high:g}; the "
            f"optimum may lie beyond: add {size} values"
        )

    def _position(self, value: float, low: float, high: float) -> float:
        """Place of a value between low (0) and high (1), on the scale of the search."""
        if any(span.log for span in self.spans) and low > 0:
            value, low, high = (math.log(number) for number in (value, low, high))
        return (value - low) / (high - low) if high > low else 0.0


def _given(plan: Plan, name: str, key: str) -> _Given | None:
    """What a suite gives for a parameter of a loss; None if not everything is a number."""
    values: list[Any] = []
    spans = []
    for loss in plan.losses:
        if isinstance(loss, Search) and loss.loss.name == name:
            space = loss.spaces.get(key, (loss.loss.params[key],))
            if isinstance(space, Span):
                spans.append(space)
            else:
                values += space
        elif not isinstance(loss, Search) and loss.name == name:
            values.append(loss.params[key])
    return _Given(tuple(values), tuple(spans)) if all(map(_is_number, values)) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, NUMBER) and not isinstance(value, bool)
