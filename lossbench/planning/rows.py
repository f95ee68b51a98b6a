"""Rows of a table: losses with their grids expanded and their searches as far as they have come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lossbench.errors import Problem
from lossbench.planning.search import Search, points
from lossbench.suite.schema import Component, Suite


@dataclass(frozen=True)
class Row:
    """A row of the table: a loss with its parameters.

    Attributes:
        label: The loss's name, with the parameters in which it differs from its namesakes.
        loss: With every default filled in.
        varied: Those parameters.
        variants: The columns that it stands in, if not in all: a search goes its own way in each.
    """

    label: str
    loss: Component
    varied: Mapping[str, Any]
    variants: frozenset[str] | None = None

    def applies_to(self, variant: str) -> bool:
        """Whether the row has a cell in this column."""
        return self.variants is None or variant in self.variants


def make_rows(
    losses: Iterable[Component | Search],
    suite: Suite,
    score: Callable[[str, Component], float | None] = lambda variant, point: None,
) -> tuple[Row, ...]:
    """Label each loss by its name and what tells it from its namesakes.

    Args:
        losses: With every default filled in; a search stands for its points.
        suite: Whose they are.
        score: (variant, point) -> see `search.Score`.

    Raises:
        SuiteError: Two rows are the same.
    """
    columns: dict[str, set[str]] = {}  # loss as JSON -> where it stands
    listed = []
    for loss in losses:
        if isinstance(loss, Component):
            if loss in listed:
                message = f"{loss.name} stands twice with the same parameters"
                raise suite.origin.error([Problem(("losses",), message)])
            listed.append(loss)
            columns[loss.model_dump_json()] = set(suite.variants)
            continue
        assert suite.selection is not None
        samples = suite.selection.samples or 0
        for variant in suite.variants:
            for point in points(loss, samples, partial(score, variant)):
                own = columns.setdefault(point.model_dump_json(), set())
                if point not in listed:
                    listed.append(point)
                own.add(variant)
    rows = []
    for loss in listed:
        varied = {
            key: value
            for key, value in loss.params.items()
            if any(other.params[key] != value for other in listed if other.name == loss.name)
        }
        inside = ",".join(f"{key}={_short(value)}" for key, value in varied.items())
        own = columns[loss.model_dump_json()]
        variants = None if own == set(suite.variants) else frozenset(own)
        label = f"{loss.name}({inside})" if varied else loss.name
        rows.append(Row(label, loss, varied, variants))
    return tuple(rows)


def find_reference_rows(reference: str | None, rows: Mapping[str, str]) -> list[str]:
    """Labels of the rows that a suite's `reference` names: by their label, or by their loss.

    Args:
        reference: Label or loss name, as in the suite.
        rows: Row label -> loss name.
    """
    return [label for label, loss in rows.items() if reference in (label, loss)]


def _short(value: Any) -> str:
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"  # 1.0 as 1; what does not fit in six digits stays whole
    return str(value)
