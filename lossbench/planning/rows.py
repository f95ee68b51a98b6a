"""Rows of a table: losses with their grids expanded, and the points of their searches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lossbench.errors import Problem
from lossbench.planning.search import Search, propose
from lossbench.suite.schema import Component, Suite


@dataclass(frozen=True)
class Row:
    """A row of the table: a loss with its parameters.

    Attributes:
        label: Name of the loss and its varied parameters, as in `lgm(alpha=0.3)`.
        loss: Loss with all defaults.
        varied: Parameters in which the row differs from other rows of the same loss.
        variants: Columns in which the row has a cell; None for all. A search may propose different
            points in each column.
    """

    label: str
    loss: Component
    varied: Mapping[str, Any]
    variants: frozenset[str] | None = None

    def applies_to(self, variant: str) -> bool:
        """Whether the row has a cell in this column."""
        return self.variants is None or variant in self.variants


def first_round(search: Search, suite: Suite) -> tuple[Component, ...]:
    """Points that a search proposes before any score is known."""
    assert suite.selection is not None
    return propose(search, suite.selection.samples or 0, lambda point: None).points


def make_rows(
    losses: Iterable[Component | Search],
    suite: Suite,
    points_of: Callable[[Search, str], Iterable[Component]] | None = None,
) -> tuple[Row, ...]:
    """Make one row per loss or searched point, labelled by its name and varied parameters.

    Args:
        losses: Losses with all defaults, and searches, which are replaced by their
            points.
        suite: Suite of the losses.
        points_of: Returns the points of a search in a variant; by default those of its first round.

    Raises:
        SuiteError: Two rows are the same.
    """
    columns: dict[str, set[str]] = {}  # loss as JSON -> variants
    listed = []
    for loss in losses:
        if isinstance(loss, Component):
            if loss in listed:
                message = f"{loss.name} is given twice with the same parameters"
                raise suite.origin.error([Problem(("losses",), message)])
            listed.append(loss)
            columns[loss.model_dump_json()] = set(suite.variants)
            continue
        for variant in suite.variants:
            for point in points_of(loss, variant) if points_of else first_round(loss, suite):
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
        inside = ",".join(f"{key}={short_value(value)}" for key, value in varied.items())
        own = columns[loss.model_dump_json()]
        variants = None if own == set(suite.variants) else frozenset(own)
        label = f"{loss.name}({inside})" if varied else loss.name
        rows.append(Row(label, loss, varied, variants))
    return tuple(rows)


def find_reference_rows(reference: str | None, rows: Mapping[str, str]) -> list[str]:
    """Labels of the rows whose label or loss is the suite's `reference`.

    Args:
        reference: Label or loss name, as in the suite.
        rows: Row label -> loss name.
    """
    return [label for label, loss in rows.items() if reference in (label, loss)]


def short_value(value: Any) -> str:
    """Shortest exact text of a parameter's value: 1.0 as `1`."""
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)
