"""Columns that are levels of one numeric setting, such as rates of label noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lossbench.planning.column_text import differing_settings
from lossbench.planning.plan import Plan

NEUTRAL_VALUES: dict[str, dict[tuple[str, ...], float]] = {
    "dataset.label_noise": {("symmetric",): 0.0, ("asymmetric", "rate"): 0.0},
    "dataset.imbalance": {("long_tail",): 1.0, ("step",): 1.0},
}
"""Condition of the training data -> its numeric key -> value that changes nothing."""


@dataclass(frozen=True)
class ColumnLevels:
    """The setting in which the columns differ.

    Attributes:
        setting: Dotted path: `dataset.label_noise.symmetric`, `model.depth`.
        values: Variant -> value, in ascending order of the values.
    """

    setting: str
    values: Mapping[str, float]


def column_levels(plan: Plan) -> ColumnLevels | None:
    """The only setting in which the columns differ, if it is a number in each of them.

    A column without label noise counts as one of rate 0, a column without imbalance as one of
    ratio 1.

    Returns:
        None if the columns differ in several settings, in one that is not a number, or not at all.
    """
    differing = differing_settings(plan)
    if len(differing) != 1:
        return None
    [(setting, values)] = differing.items()
    for keys, neutral in NEUTRAL_VALUES.get(setting, {}).items():
        levels = _levels_of_condition(values, keys, neutral)
        if levels is not None:
            return _ordered(".".join([setting, *keys]), levels)
    return _ordered(setting, values) if all(map(_is_number, values.values())) else None


def _ordered(setting: str, values: Mapping[str, float]) -> ColumnLevels:
    return ColumnLevels(setting, dict(sorted(values.items(), key=lambda item: item[1])))


def _levels_of_condition(
    values: Mapping[str, Any], keys: tuple[str, ...], neutral: float
) -> dict[str, float] | None:
    """Variant -> number at nested `keys`; None if one has none or they differ elsewhere."""
    levels: dict[str, float] = {}
    others: list[Any] = []
    for variant, value in values.items():
        if value is None:
            levels[variant] = neutral
            continue
        number, rest = _taken_out(value, keys)
        if not _is_number(number):
            return None
        levels[variant] = number
        others.append(rest)
    distinct = len(set(levels.values())) == len(levels)
    return levels if distinct and all(rest == others[0] for rest in others) else None


def _taken_out(value: Any, keys: tuple[str, ...]) -> tuple[Any, Any]:
    """The item at `keys` of nested mappings (None if absent), and the mappings without it."""
    if not keys:
        return value, None
    if not isinstance(value, Mapping) or keys[0] not in value:
        return None, value
    item, rest = _taken_out(value[keys[0]], keys[1:])
    return item, {**value, keys[0]: rest}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
