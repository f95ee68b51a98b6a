"""Checks of the labels of a suite's losses: rows have different names and different losses."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from lossbench.errors import Loc, Problem
from lossbench.planning.rows import Row
from lossbench.planning.search import Search
from lossbench.suite.grammar import SearchRange, Space
from lossbench.suite.schema import LossEntry, Suite


def label_problems(
    suite: Suite, losses: Iterable[LossEntry | Search], rows: Iterable[Row]
) -> list[Problem]:
    """Problems of labels that other rows already have, and of searches with common points."""
    problems: list[Problem] = []
    owners: dict[str, str] = {}  # entry -> its loss
    labels: dict[str, str] = {}  # row label -> its entry
    for row in rows:
        owner, other = owners.setdefault(row.entry, row.loss.name), labels.get(row.label, row.entry)
        if owner != row.loss.name:
            loc = _label_loc(suite, row.entry)
            problems.append(Problem(loc, f"{row.entry!r} is already the name of {owner}'s row"))
        elif other != row.entry:
            taken = row.entry if row.entry_label == row.label else other
            message = f"{row.label!r} is already the name of another row"
            problems.append(Problem(_label_loc(suite, taken), message))
        labels[row.label] = row.entry
    listed = list(losses)
    for first, second in itertools.combinations(listed, 2):
        same_loss = first.loss.name == second.loss.name
        if same_loss and first.entry != second.entry and _overlap(first, second):
            loc = _label_loc(suite, second.entry)
            message = (
                f"{second.entry!r} may propose the same parameters as {first.entry!r}, which would "
                "be given twice; give them values without overlap for at least one parameter"
            )
            problems.append(Problem(loc, message))
    searched = {loss.entry for loss in listed if isinstance(loss, Search)}
    for entry, other in itertools.product(owners, searched):
        if entry != other and entry.startswith(f"{other}("):
            message = (
                f"{entry!r} may also become the name of a row that the search of {other!r} proposes"
            )
            problems.append(Problem(_label_loc(suite, entry), message))
    return list(dict.fromkeys(problems))


def _label_loc(suite: Suite, entry: str) -> Loc:
    """Location of the label of an entry in the suite; that of `losses` for an entry without one."""
    for index, loss in reversed(list(enumerate(suite.losses))):
        if loss.label == entry:
            return ("losses", index, loss.name, "label")
    return ("losses",)


def _overlap(first: LossEntry | Search, second: LossEntry | Search) -> bool:
    """Whether two entries of one loss, at least one of them a search, may have the same point."""
    if isinstance(first, LossEntry) and isinstance(second, LossEntry):
        return False  # refused as given twice
    sides = [(x.loss.params, x.spaces if isinstance(x, Search) else {}) for x in (first, second)]
    keys = {key for params, _ in sides for key in params}
    spaces = ([s.get(key, (params.get(key),)) for params, s in sides] for key in keys)
    return all(_common(one, other) for one, other in spaces)


def _common(one: Space, other: Space) -> bool:
    """Whether two spaces have a common value."""
    if isinstance(one, SearchRange) and isinstance(other, SearchRange):
        return one.low <= other.high and other.low <= one.high
    if isinstance(one, SearchRange):
        one, other = other, one
    if isinstance(other, SearchRange):
        return any(
            isinstance(value, int | float) and other.low <= value <= other.high for value in one
        )
    return any(value in other for value in one)
