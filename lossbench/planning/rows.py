"""Rows of a table: losses with their grids expanded, and the points of their searches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lossbench.errors import Problem
from lossbench.planning.search import Search, propose
from lossbench.suite.schema import Component, LossEntry, Suite


@dataclass(frozen=True)
class Row:
    """A row of the table: a loss with its parameters.

    Attributes:
        label: Name of the loss, or its label in the suite, with its varied parameters, as in
            `lgm(alpha=0.3)`.
        loss: Loss with all defaults.
        varied: Parameters in which the row differs from other rows of the same entry.
        variants: Columns in which the row has a cell; None for all. A search may propose different
            points in each column.
        entry_label: Label of its entry in the suite; None without one.
    """

    label: str
    loss: Component
    varied: Mapping[str, Any]
    variants: frozenset[str] | None = None
    entry_label: str | None = None

    @property
    def entry(self) -> str:
        """Name of its entry in the suite: the label, else the name of the loss.

        Rows of one entry differ in parameters among which `selection` chooses.
        """
        return self.entry_label or self.loss.name

    def applies_to(self, variant: str) -> bool:
        """Whether the row has a cell in this column."""
        return self.variants is None or variant in self.variants


def first_round(search: Search, suite: Suite) -> tuple[Component, ...]:
    """Points that a search proposes before any score is known."""
    assert suite.selection is not None
    return propose(search, suite.selection.samples or 0, lambda point: None).points


def make_rows(
    losses: Iterable[LossEntry | Search],
    suite: Suite,
    points_of: Callable[[Search, str], Iterable[Component]] | None = None,
) -> tuple[Row, ...]:
    """Make one row per loss or searched point, labelled by its entry and varied parameters.

    Args:
        losses: Losses with all defaults, and searches, which are replaced by their
            points.
        suite: Suite of the losses.
        points_of: Returns the points of a search in a variant; by default those of its first round.

    Raises:
        SuiteError: Two rows are the same.
    """
    columns: dict[str, set[str]] = {}  # loss as JSON -> variants
    listed: list[LossEntry] = []
    for loss in losses:
        if isinstance(loss, LossEntry):
            if any(loss.loss == other.loss for other in listed):
                message = f"{loss.name} is given twice with the same parameters"
                raise suite.origin.error([Problem(("losses",), message)])
            listed.append(loss)
            columns[loss.loss.model_dump_json()] = set(suite.variants)
            continue
        for variant in suite.variants:
            for point in points_of(loss, variant) if points_of else first_round(loss, suite):
                own = columns.setdefault(point.model_dump_json(), set())
                if all(point != other.loss for other in listed):
                    listed.append(LossEntry(**dict(point), label=loss.label))
                own.add(variant)
    rows = []
    for loss in listed:
        varied = {
            key: value
            for key, value in loss.params.items()
            if any(o.params.get(key) != value for o in listed if o.entry == loss.entry)
        }
        inside = ",".join(f"{key}={short_value(value)}" for key, value in varied.items())
        own = columns[loss.loss.model_dump_json()]
        variants = None if own == set(suite.variants) else frozenset(own)
        label = f"{loss.entry}({inside})" if varied else loss.entry
        rows.append(Row(label, loss.loss, varied, variants, loss.label))
    return tuple(rows)


def find_reference_rows(reference: str | None, rows: Mapping[str, str]) -> list[str]:
    """Labels of the rows whose label or entry is the suite's `reference`.

    Args:
        reference: Label of a row, or label or name of a loss, as in the suite.
        rows: Row label -> entry.
    """
    return [label for label, entry in rows.items() if reference in (label, entry)]


def short_value(value: Any) -> str:
    """Shortest exact text of a parameter's value: 1.0 as `1`."""
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)
