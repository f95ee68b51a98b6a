"""Values that a suite with `tune` chose for each loss in each column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lossbench.analysis.edges import edge_choices
from lossbench.planning.rows import Row
from lossbench.planning.selection import PlanWithResults
from lossbench.planning.tuning import short_names


@dataclass(frozen=True)
class TunedChoice:
    """Values chosen for an entry in a column.

    Attributes:
        variant: Name of the column.
        entry: Name of the entry; see `Row.entry`.
        row: Chosen row of the held-out part.
        tuned: Short name of each tuned recipe key -> chosen value, as in {"lr": 0.1}.
        params: Chosen parameters of the loss; empty if none were chosen.
        edges: Short names of the numbers at an edge of their values -> whether at the low one.
    """

    variant: str
    entry: str
    row: Row
    tuned: Mapping[str, Any]
    params: Mapping[str, Any]
    edges: Mapping[str, bool]


def tuned_choices(found: PlanWithResults) -> Iterator[TunedChoice]:
    """The chosen values, by entry and column; none without `tune`."""
    plan = found.plan
    if not plan.suite.tune:
        return
    edges: dict[tuple[str, str], dict[str, bool]] = {}
    for edge in edge_choices(plan, found.chosen):
        edges.setdefault((edge.variant, edge.entry), {})[edge.parameter] = edge.at_low
    for entry in dict.fromkeys(row.entry for row in plan.rows):
        for variant in plan.suite.variants:
            if (row := found.chosen.get((variant, entry))) is None:
                continue
            names = short_names(list(plan.suite.tune), list(row.loss.params))
            yield TunedChoice(
                variant,
                entry,
                row,
                {names[key]: value for key, value in row.tuned.items()},
                {key: value for key, value in row.varied.items() if key not in row.tuned},
                {names.get(k, k): low for k, low in edges.get((variant, entry), {}).items()},
            )
