"""Whether a suite can be compared with a baseline: the same data, conditions and cells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lossbench.errors import RequestError, did_you_mean
from lossbench.gate.baseline import (
    Baseline,
    BaselineCell,
    BaselineData,
    BaselineMetric,
    CellKey,
    Conditions,
    cell_key,
)
from lossbench.gate.from_results import conditions_of, data_of, metrics_of
from lossbench.planning.nested import component_text, is_component
from lossbench.planning.plan import Plan

_ABSENT = object()


def require_comparable(baseline: Baseline, plan: Plan, only: str | None, path: Path) -> None:
    """Refuse a suite that cannot be compared with a baseline; needs no results.

    Args:
        baseline: The baseline.
        plan: Plan of the suite.
        only: Glob of `--only`; other cells of the baseline may be missing in the suite.
        path: Path of the baseline, for messages.

    Raises:
        RequestError: The suite's name, data, conditions or metrics differ, or it lacks cells of
            the baseline.
    """
    require_same_suite(baseline, plan.suite.suite, path)
    different = condition_differences(
        baseline, data_of(plan), conditions_of(plan), metrics_of(plan)
    )
    if different:
        lines = "\n".join(f"{path}: {line}" for line in different)
        raise RequestError(f"{lines}\nnothing was compared, because the conditions differ")
    planned = _planned_keys(plan)
    lacking = [c for c in baseline.cells if c.matches_only(only) and c.key not in planned]
    if lacking:
        raise RequestError("\n".join(f"{path}: {_lacking_cell(c, plan)}" for c in lacking))


def require_same_suite(baseline: Baseline, suite: str, path: Path) -> None:
    """Refuse a baseline of another suite.

    Raises:
        RequestError: The names differ.
    """
    if baseline.suite != suite:
        raise RequestError(f"{path}: suite: {baseline.suite!r} in the baseline, {suite!r} now")


def condition_differences(
    baseline: Baseline,
    data: BaselineData,
    conditions: Conditions,
    metrics: Iterable[BaselineMetric],
) -> list[str]:
    """Differences that make results incomparable: `recipe.epochs: 40 in the baseline, 3 now`.

    Variants, evaluations and metrics that only one side has do not count.
    """
    lines = []
    for metric in metrics:
        was = baseline.metric_by_name.get(metric.name, metric)
        for key in ("unit", "direction"):
            path = f"metrics.{metric.name}.{key}"
            lines += _differences(path, getattr(was, key), getattr(metric, key))
    old = baseline.conditions
    shared = [name for name in old.variants if name in conditions.variants]
    columns: dict[str, list[str]] = {}  # difference -> variants
    for name in shared:
        before, after = _column(old, baseline.data, name), _column(conditions, data, name)
        if before["data"]["digest"] == after["data"]["digest"]:
            before["data"]["name"] = after["data"]["name"]
        _keep_shared_keys(before["data"]["other_digests"], after["data"]["other_digests"])
        names = {e["name"] for e in before["evaluate"]} & {e["name"] for e in after["evaluate"]}
        for side in (before, after):
            side["evaluate"] = [e for e in side["evaluate"] if e["name"] in names]
        for key in ("model", "augment"):
            lines += _differences(f"variants.{name}.{key}", before.pop(key), after.pop(key))
        for line in _differences("", before, after):
            columns.setdefault(line, []).append(name)
    for line, names_of_line in columns.items():
        everywhere = len(names_of_line) == len(shared)
        lines += [line] if everywhere else [f"variants.{name}.{line}" for name in names_of_line]
    for key in ("threads", "workers"):
        lines += _differences(key, getattr(old, key), getattr(conditions, key))
    return lines


def _column(conditions: Conditions, data: BaselineData, name: str) -> dict[str, Any]:
    """All conditions of a column."""
    column = conditions.variants[name]
    content = conditions.model_dump(mode="json", include={"recipe", "evaluate", "holdout"})
    return {
        "data": data.model_dump(),
        **conditions.dataset,
        **content,
        **{key: value for key, value in column.model_dump(mode="json").items() if key != "dataset"},
        **(column.dataset or {}),
    }


def _keep_shared_keys(one: dict[str, Any], other: dict[str, Any]) -> None:
    for content, keys in ((one, one.keys() - other.keys()), (other, other.keys() - one.keys())):
        for key in keys:
            del content[key]


def _planned_keys(plan: Plan) -> set[CellKey]:
    measured = {m.name: plan.variants_with(m) for m in plan.metrics}
    return {
        cell_key(variant, row.loss.name, row.loss.params, metric.name, row.tuned)
        for row in plan.all_rows
        for metric in metrics_of(plan)
        # the metric of selection is measured in all columns
        for variant in measured.get(metric.name, plan.suite.variants)
    }


def _lacking_cell(cell: BaselineCell, plan: Plan) -> str:
    """Message on a cell of the baseline that the suite lacks, with the nearest cell it has."""
    if cell.variant not in plan.suite.variants:
        near = did_you_mean(cell.variant, plan.suite.variants)
        return f"cells: the suite has no variant {cell.variant!r}{near}"
    text = f"cells: the suite has no {cell.name} ({cell.metric}) with the baseline's parameters"
    rows = [r for r in plan.rows if r.label == cell.row]
    rows = rows or [r for r in plan.rows if r.loss.name == cell.loss]
    if len(rows) == 1 and rows[0].loss.name == cell.loss:
        changes = _differences("", cell.params, rows[0].loss.params)
        changes += _differences("", cell.tuned, rows[0].tuned)
        changed = "; ".join(changes)
        return f"{text}: {cell.loss}.{changed}" if changed else f"{text}: not measured"
    return text + did_you_mean(cell.row, {row.label for row in plan.rows})


def _differences(path: str, was: Any, now: Any) -> list[str]:
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        if "name" in was and was["name"] != now.get("name"):  # then the parameters differ, too
            return [f"{path}: {was['name']} in the baseline, {now.get('name')} now"]
        lines = []
        for key in dict.fromkeys([*was, *now]):
            inner = path if key == "params" else f"{path}.{key}".lstrip(".")
            lines += _differences(inner, was.get(key, _ABSENT), now.get(key, _ABSENT))
        return lines
    if was == now:
        return []
    return [f"{path}: {_value_text(was)} in the baseline, {_value_text(now)} now"]


def _value_text(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    if isinstance(value, list):
        return f"[{', '.join(map(_value_text, value))}]"
    if is_component(value):
        return component_text(value, _value_text)
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, str) else json.dumps(value)
