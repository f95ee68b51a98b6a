"""Metrics of a report by their kind: a headline, and groups with a heading each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lossbench.analysis.tables import Table
from lossbench.records import METRIC_GROUPS

T = TypeVar("T")
HEADLINE_GROUP = "accuracy"
TITLES = {
    "detection": "Detection of other inputs",
    "": "Other metrics",
}
"""Headings of groups that are not their names."""
FOLDED_FROM = 7
"""With at least so many metrics on the test set, all but the headline are folded."""


@dataclass(frozen=True)
class MetricGroup:
    """Tables of the metrics of one kind.

    Attributes:
        title: Heading.
        tables: Tables on the test set.
    """

    title: str
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class GroupedTables:
    """Tables of a suite in the order of a report.

    Attributes:
        headline: Tables on the held-out part, and those of the headline's metrics: all of the
            group `accuracy`; if there is none, the metric by which parameters are chosen, or the
            first one. All, if they are few and of one kind.
        groups: The other metrics.
        folded: Whether there are so many metrics that the groups are folded.
    """

    headline: tuple[Table, ...]
    groups: tuple[MetricGroup, ...]
    folded: bool

    @property
    def tables(self) -> tuple[Table, ...]:
        """All tables, in order."""
        return (*self.headline, *(table for group in self.groups for table in group.tables))


def group_tables(tables: Sequence[Table]) -> GroupedTables:
    """Group the tables of a suite by the kinds of their metrics."""
    tested = [table for table in tables if not table.held_out]
    headline = [table for table in tested if table.group == HEADLINE_GROUP]
    folded = len(tested) >= FOLDED_FROM
    if not headline:
        headline = [t for t in tested if t.metric == _chosen_by(t)][:1] or tested[:1]
    if len({table.group for table in tested}) == 1 and not folded:
        headline = tested
    names = list(dict.fromkeys(t.group for t in in_group_order(tested, lambda t: t.group)))
    rest = [(name, [t for t in tested if t.group == name and t not in headline]) for name in names]
    return GroupedTables(
        headline=(*(table for table in tables if table.held_out), *headline),
        groups=tuple(MetricGroup(group_title(n), tuple(listed)) for n, listed in rest if listed),
        folded=folded,
    )


def _chosen_by(table: Table) -> str:
    """Name of the metric by which the suite of a table chooses parameters; empty without one."""
    metric = table.found.plan.selection_metric
    return metric.name if metric else ""


def in_group_order(items: Iterable[T], group_of: Callable[[T], str]) -> list[T]:
    """Items by the order of their groups; those of other names follow, those without come last."""
    listed = list(items)
    own = [*dict.fromkeys(group for item in listed if (group := group_of(item))), ""]
    order = list(dict.fromkeys([*METRIC_GROUPS, *own]))
    return sorted(listed, key=lambda item: order.index(group_of(item)))


def group_title(group: str) -> str:
    """Heading of a group."""
    return TITLES.get(group, group[:1].upper() + group[1:].replace("_", " "))
