"""The paper's numbers, to stand beside the measured ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from lossbench.errors import did_you_mean
from lossbench.plan import Row

_LABEL = re.compile(r"(?P<name>\w+)(?:\((?P<params>[^()]*)\))?")


@dataclass(frozen=True)
class Published:
    """A published number, in the unit of its table (percent).

    Attributes:
        mean: The number itself.
        std: Its spread; None where the paper gives none.
    """

    mean: float
    std: float | None


def published_numbers(
    table: str | None, metric: str, variant: str, rows: Iterable[Row]
) -> dict[str, Published]:
    """Find the published numbers of one column.

    A published label (`softmax`, `lgm(alpha=1.0)`) belongs to the row with this name and these
    parameters. Where several rows fit one label, or several labels one row, no number is shown.

    Args:
        table: Key in `published.json`, as a suite's `published`; it ends in the metric's name.
        metric: Name of the measured metric.
        variant: Must equal the published column's name.
        rows: Rows that have a cell in this column.

    Returns:
        Row label -> number.
    """
    if table is None or not table.endswith(f"_{metric}"):
        return {}
    candidates = list(rows)
    found: dict[str, list[Published]] = {}
    for label, (mean, std) in _load().get(table, {}).get(variant, {}).items():
        fitting = [row for row in candidates if matches(label, row)]
        if len(fitting) == 1:
            found.setdefault(fitting[0].label, []).append(Published(mean, std))
    return {label: numbers[0] for label, numbers in found.items() if len(numbers) == 1}


def published_problem(table: str | None, variants: Iterable[str]) -> str | None:
    """Say why a suite's `published` shows nothing, if it can show nothing."""
    if table is None:
        return None
    known = _load()
    if table not in known:
        return f"published: unknown table {table!r}{did_you_mean(table, known)}"
    names = list(variants)
    if not set(names) & set(known[table]):
        return (
            f"published: {table} has the variants {', '.join(known[table])}; "
            f"none is called {' or '.join(names)}"
        )
    return None


def matches(label: str, row: Row) -> bool:
    """Whether a published label names this row; numbers compare as numbers (1.0 is 1)."""
    parsed = _LABEL.fullmatch(label.strip())
    if parsed is None or parsed["name"] != row.loss.name:
        return False
    pairs = [pair.partition("=") for pair in (parsed["params"] or "").split(",") if pair.strip()]
    return all(
        key.strip() in row.loss.params and _same(row.loss.params[key.strip()], value.strip())
        for key, _, value in pairs
    )


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
