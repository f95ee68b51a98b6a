"""Published numbers of papers, to be compared with the measured ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from lossbench.errors import Loc, Problem, did_you_mean
from lossbench.planning.rows import Row
from lossbench.records import Metric
from lossbench.suite.schema import Suite

ADDED_LATER = frozenset({"class_weights", "class_balanced_beta"})
"""Parameters of losses that rows have only with other values than the default (`OMIT_DEFAULT` of
`lossbench.registry`), so a published label without them is that of another row."""

_LABEL = re.compile(r"(?P<name>\w+)(?:\((?P<params>[^()]*)\))?")


@dataclass(frozen=True)
class Published:
    """A published number, in the unit of its table (percent).

    Attributes:
        mean: Published mean.
        std: Published standard deviation; None if the paper gives none.
    """

    mean: float
    std: float | None


def published_numbers(
    published: str | Mapping[str, str] | None, metric: str, variant: str, rows: Iterable[Row]
) -> dict[str, Published]:
    """Find the published numbers of one column.

    A published label (`softmax`, `lgm(alpha=1.0)`) belongs to the row with this name and these
    parameters. If several rows match one label, or several labels one row, no number is returned.

    Args:
        published: Value of the suite's key: a table of `published.json` whose name ends with the
            metric's name and whose columns are the variants; or metric -> table or
            `TABLE/COLUMN`.
        metric: Name of the measured metric.
        variant: Name of the measured column.
        rows: Rows that have a cell in this column.

    Returns:
        Row label -> number.
    """
    table, column = _place(published, metric, variant)
    candidates = list(rows)
    found: dict[str, list[Published]] = {}
    for label, (mean, std) in _load().get(table, {}).get(column, {}).items():
        fitting = [row for row in candidates if label_matches_row(label, row)]
        if len(fitting) == 1:
            found.setdefault(fitting[0].label, []).append(Published(mean, std))
    return {label: numbers[0] for label, numbers in found.items() if len(numbers) == 1}


def _place(published: str | Mapping[str, str] | None, metric: str, variant: str) -> tuple[str, str]:
    """Table and column of a metric's numbers; empty if there are none."""
    if published is None or isinstance(published, str):
        return (published or "", variant) if (published or "").endswith(f"_{metric}") else ("", "")
    table, _, column = published.get(metric, "").partition("/")
    return table, column or variant


def published_problems(suite: Suite, metrics: Iterable[Metric]) -> list[Problem]:
    """One problem for each entry of a suite's `published` that has no number to show."""
    published, by_name = suite.published, {metric.name: metric for metric in metrics}
    if published is None:
        return []
    entries = {"": published} if isinstance(published, str) else published
    known, variants = _load(), list(suite.variants)
    problems = []
    for metric, text in entries.items():
        where: Loc = ("published", metric) if metric else ("published",)
        table, _, column = text.partition("/")
        if metric and metric not in by_name:
            message = f"{metric!r} is not measured{did_you_mean(metric, by_name)}"
        elif table not in known:
            message = f"unknown table {table!r}{did_you_mean(table, known)}"
        elif column and column not in known[table]:
            near = did_you_mean(column, known[table])
            message = f"{table} has no column {column!r}{near}"
        elif not column and not set(variants) & set(known[table]):
            message = (
                f"{table} has the variants {', '.join(known[table])}; "
                f"none is called {' or '.join(variants)}"
            )
        elif metric and table.endswith("_accuracy") != by_name[metric].higher_is_better:
            larger, smaller = "larger values are better", "smaller values are better"
            here = larger if by_name[metric].higher_is_better else smaller
            there = smaller if here == larger else larger
            message = f"of {metric!r}, {here}, but of the numbers of {table}, {there}"
        else:
            continue
        problems.append(Problem(where, message))
    return problems


def label_matches_row(label: str, row: Row) -> bool:
    """Whether a published label names this row; numbers compare as numbers (1.0 is 1)."""
    parsed = _LABEL.fullmatch(label.strip())
    if parsed is None or parsed["name"] != row.loss.name:
        return False
    pairs = [pair.partition("=") for pair in (parsed["params"] or "").split(",") if pair.strip()]
    named = {key.strip(): value.strip() for key, _, value in pairs}
    return all(
        key in row.loss.params and _same(row.loss.params[key], value)
        for key, value in named.items()
    ) and not (ADDED_LATER & row.loss.params.keys() - named.keys())


def _same(value: Any, text: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).lower() == text.lower()
    try:
        return float(text) == value
    except ValueError:
        return False


Numbers = Mapping[str, Mapping[str, tuple[float, float | None]]]


@cache
def _load() -> dict[str, Numbers]:
    text = resources.files(__package__).joinpath("published.json").read_text(encoding="utf-8")
    return {key: value for key, value in json.loads(text).items() if not key.startswith("_")}
