"""Rows of a table: losses with their grids expanded, and the points of their searches.

With `tune`, a row is a loss with values of the tuned recipe keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lossbench.errors import Problem
from lossbench.planning.search import Point, Search, propose
from lossbench.planning.tuning import Tuned, grid_combinations, recipe_value, short_names
from lossbench.suite.columns import column_recipe
from lossbench.suite.schema import Component, LossEntry, Recipe, Suite

UNTUNED = "untuned"
"""Remark in the label of a row with the recipe's own values of tuned keys."""


@dataclass(frozen=True)
class Row:
    """A row of the table: a loss with its parameters.

    Attributes:
        label: Name of the loss, or its label in the suite, with its varied parameters, as in
            `lgm(alpha=0.3)` or, with a tuned learning rate, `lgm(alpha=0.3,lr=0.1)`.
        loss: Loss with all defaults.
        varied: Parameters and dotted recipe keys in which the row differs from other rows of the
            same entry.
        variants: Columns in which the row has a cell; None for all. A search may propose different
            points in each column.
        entry_label: Label of its entry in the suite; None without one.
        tuned: Tuned recipe keys with the row's values; other keys have the recipe's own values.
    """

    label: str
    loss: Component
    varied: Mapping[str, Any]
    variants: frozenset[str] | None = None
    entry_label: str | None = None
    tuned: Tuned = field(default_factory=dict)

    @property
    def entry(self) -> str:
        """Name of its entry in the suite: the label, else the name of the loss.

        Rows of one entry differ in parameters among which `selection` chooses.
        """
        return self.entry_label or self.loss.name

    @property
    def point(self) -> Point:
        """The row's loss and tuned values."""
        return Point(self.loss, self.tuned)

    @property
    def varied_names(self) -> dict[str, str]:
        """Varied parameter or recipe key -> its name in labels: `lr`."""
        names = short_names(list(self.tuned), list(self.loss.params))
        return {key: names.get(key, key) for key in self.varied}

    def applies_to(self, variant: str) -> bool:
        """Whether the row has a cell in this column."""
        return self.variants is None or variant in self.variants


def own_values(search: Search, recipe: Recipe) -> dict[str, Any]:
    """A recipe's own values of the searched recipe keys."""
    return {key: recipe_value(recipe, key) for key in search.tuned}


def first_round(search: Search, suite: Suite, variant: str) -> tuple[Point, ...]:
    """Points that a search proposes in a column before any score is known."""
    assert suite.selection is not None
    own = own_values(search, column_recipe(suite, variant))
    return propose(search, suite.selection.samples or 0, lambda point: None, (), own).points


def make_rows(
    losses: Iterable[LossEntry | Search],
    suite: Suite,
    points_of: Callable[[Search, str], Iterable[Point]] | None = None,
) -> tuple[Row, ...]:
    """Make one row per loss or searched point, labelled by its entry and varied parameters.

    Args:
        losses: Losses with all defaults, each of which is combined with all values of the suite's
            tuned grids, and searches, which are replaced by their points.
        suite: Suite of the losses.
        points_of: Returns the points of a search in a variant; by default those of its first round.

    Raises:
        SuiteError: Two rows are the same.
    """
    columns: dict[str, set[str]] = {}  # key of a point -> variants
    listed: list[Row] = []  # without their labels
    for loss in losses:
        if isinstance(loss, LossEntry):
            for point in (Point(loss.loss, tuned) for tuned in grid_combinations(suite)):
                if any(point == other.point for other in listed):
                    message = f"{loss.name} is given twice with the same parameters"
                    raise suite.origin.error([Problem(("losses",), message)])
                listed.append(Row("", point.loss, {}, None, loss.label, point.tuned))
                columns[point.key] = set(suite.variants)
            continue
        for variant in suite.variants:
            for point in (
                points_of(loss, variant) if points_of else first_round(loss, suite, variant)
            ):
                own = columns.setdefault(point.key, set())
                if all(point != other.point for other in listed):
                    listed.append(Row("", point.loss, {}, None, loss.label, point.tuned))
                own.add(variant)
    entries: dict[str, list[dict[str, Any]]] = {}
    for row in listed:
        entries.setdefault(row.entry, []).append(_values(row))
    differing = {
        entry: [
            key
            for key in dict.fromkeys(key for own in values for key in own)
            if any(own.get(key) != values[0].get(key) for own in values)
        ]
        for entry, values in entries.items()
    }
    rows = []
    for row in listed:
        values = _values(row)
        varied = {key: values[key] for key in differing[row.entry] if key in values}
        own = columns[row.point.key]
        variants = None if own == set(suite.variants) else frozenset(own)
        row = replace(row, varied=varied, variants=variants)
        rows.append(replace(row, label=_label(row)))
    return tuple(rows)


def untuned_row(row: Row, loss: Component) -> Row:
    """The row of a loss with the recipe's own values of all tuned keys.

    Args:
        row: A row of the same loss, whose varied parameters are in the label.
        loss: Loss with every parameter.
    """
    varied = {key: loss.params[key] for key in row.varied if key in loss.params}
    untuned = replace(row, loss=loss, varied=varied, variants=None, tuned={})
    return replace(untuned, label=_label(untuned, UNTUNED))


def _values(row: Row) -> dict[str, Any]:
    return {**row.loss.params, **row.tuned}


def _label(row: Row, *remarks: str) -> str:
    names = row.varied_names
    inside = [f"{names[key]}={short_value(value)}" for key, value in row.varied.items()]
    text = ",".join([*inside, *remarks])
    return f"{row.entry}({text})" if text else row.entry


def find_reference_rows(reference: str | None, rows: Mapping[str, str]) -> list[str]:
    """Labels of the rows whose label is the suite's `reference`, or else of those whose entry is.

    Args:
        reference: Label of a row, or label or name of a loss, as in the suite.
        rows: Row label -> entry.
    """
    if reference is not None and reference in rows:
        return [reference]
    return [label for label, entry in rows.items() if reference == entry]


def short_value(value: Any) -> str:
    """Shortest exact text of a parameter's value: 1.0 as `1`, None as `null`."""
    if value is None:
        return "null"
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{','.join(map(short_value, value))}]"
    return str(value)
