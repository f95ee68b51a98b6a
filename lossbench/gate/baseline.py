"""The baseline file: what a suite's cells have reached, and under which conditions.

What a check measures has the same form, so that it is compared field by field and, with
`--update`, written as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from lossbench.analysis.statistics import Summary
from lossbench.errors import Path as KeyPath
from lossbench.errors import RequestError, did_you_mean, problems_of
from lossbench.records import HELD_OUT_PREFIX, Strict
from lossbench.suite.schema import Component, Holdout, NonNegativeInt, Recipe

SCHEMA = 1
DEFAULT_MIN_EFFECT = 0.5
"""In percentage points; a metric of another unit has no default."""

Values = Mapping[str, Any]
CellKey = tuple[str, str, str, str]


def cell_key(variant: str, loss: str, params: Values, metric: str) -> CellKey:
    """What makes two cells the same; 1 and 1.0 are, too."""
    plain = {key: float(v) if type(v) is int else v for key, v in params.items()}
    return variant, loss, json.dumps(plain, sort_keys=True), metric


class Data(Strict):
    """What was trained on and measured.

    Attributes:
        name: Of the data set; for people.
        digest: Of every pixel and label.
        other_digests: Of other data that evaluations read, by the name in the suite.
    """

    name: str
    digest: str
    other_digests: dict[str, str]


class Column(Strict):
    """A variant: its model and augmentation, with every default filled in."""

    model: Component
    augment: list[Component]


class Conditions(Strict):
    """Everything but the loss that decides the numbers: equal on both sides of a comparison.

    Attributes:
        classes, train_size, test_size: How much of the data set.
        recipe: Of every row.
        variants: The columns.
        evaluate: What is measured.
        holdout: Share that is held out to choose parameters, or `validation` where the validation
            set chooses; 0 without a choice.
        threads: CPU threads of a training.
        workers: Processes that train one trial together.
    """

    classes: list[int] | None
    train_size: int | None
    test_size: int | None
    recipe: Recipe
    variants: dict[str, Column]
    evaluate: list[Component]
    holdout: Holdout
    threads: int
    workers: int

    @property
    def digest(self) -> str:
        return _digest(self.model_dump(mode="json"))


class BaselineMetric(Strict):
    """A metric, and how much of a change in it matters.

    Attributes:
        name: As in JSON.
        unit: Unit of its values; empty where they have none.
        direction: Which values are better.
        min_effect: Smallest worsening that counts as a regression, in the metric's unit
            (percentage points for percentages).
    """

    name: str
    unit: str
    direction: Literal["lower", "higher"]
    min_effect: float = Field(default=DEFAULT_MIN_EFFECT, gt=0)


class BaselineCell(Strict):
    """The values of one row in one column for one metric.

    Attributes:
        variant: The column.
        row: The row's label; for people.
        metric: One of the file's metrics.
        seeds: Seeds of the trials that gave a value.
        values: Their values, in the order of `seeds`.
        diverged: Seeds that gave none: the training diverged, or the metric was not finite.
        loss, params: The row, with every default filled in.
    """

    variant: str
    row: str
    metric: str
    seeds: list[NonNegativeInt]
    values: list[float]
    diverged: list[NonNegativeInt]
    loss: str
    params: dict[str, Any]

    @property
    def key(self) -> CellKey:
        """What makes it the same cell elsewhere: the parameters count, the label does not."""
        return cell_key(self.variant, self.loss, self.params, self.metric)

    @property
    def name(self) -> str:
        return f"{self.variant}/{self.row}"

    @property
    def held_out(self) -> bool:
        """Whether the values are of the held-out part, not of the test set."""
        return self.metric.startswith(HELD_OUT_PREFIX)

    @cached_property
    def by_seed(self) -> dict[int, float]:
        return dict(zip(self.seeds, self.values, strict=True))

    @property
    def planned(self) -> set[int]:
        """All its seeds."""
        return {*self.seeds, *self.diverged}

    @property
    def summary(self) -> Summary:
        return Summary(tuple(self.values), len(self.diverged))

    @model_validator(mode="after")
    def _is_whole(self) -> BaselineCell:
        if len(self.seeds) != len(self.values):
            raise ValueError(f"{len(self.values)} values for {len(self.seeds)} seeds")
        if not self.planned:
            raise ValueError("has no seed at all")
        if len(self.planned) < len(self.seeds) + len(self.diverged):
            raise ValueError("a seed stands twice")
        return self


class Baseline(Strict):
    """A baseline file.

    Attributes:
        version: Of this form.
        suite: Name of the suite.
        command: Measures the cells again.
        measured: Day of the last trial, YYYY-MM-DD (UTC).
        device: What it ran on; several are joined by `; `.
        environment: Versions that decide the numbers.
        data: What was trained on.
        conditions_digest: Of `conditions`; tells a file that was edited by hand.
        conditions: The recipe and the columns.
        metrics: With their smallest effect that matters.
        cells: One a row, column and metric.
    """

    version: Literal[1] = SCHEMA  # type: ignore[assignment]
    suite: str
    command: str
    measured: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    device: str
    environment: dict[str, str]
    data: Data
    conditions_digest: str
    conditions: Conditions
    metrics: list[BaselineMetric] = Field(min_length=1)
    cells: list[BaselineCell]

    @cached_property
    def by_key(self) -> dict[CellKey, BaselineCell]:
        return {cell.key: cell for cell in self.cells}

    @cached_property
    def metric(self) -> dict[str, BaselineMetric]:
        return {metric.name: metric for metric in self.metrics}

    @model_validator(mode="after")
    def _fits_together(self) -> Baseline:
        if len(self.by_key) < len(self.cells):
            raise ValueError("cells: a cell stands twice")
        if len(self.metric) < len(self.metrics):
            raise ValueError("metrics: a metric stands twice")
        for cell in self.cells:
            if cell.metric not in self.metric:
                known = did_you_mean(cell.metric, self.metric)
                raise ValueError(f"cells: unknown metric {cell.metric!r}{known}")
            if cell.variant not in self.conditions.variants:
                known = did_you_mean(cell.variant, self.conditions.variants)
                raise ValueError(f"cells: unknown variant {cell.variant!r}{known}")
        return self


def read_baseline(path: Path) -> Baseline:
    """Read a baseline file.

    Raises:
        RequestError: It is missing, no JSON, or does not have the form; every error at once.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = [p.name for p in path.parent.glob("*.json")] if path.parent.is_dir() else []
        message = f"{path}: no such baseline{did_you_mean(path.name, near)}"
        raise RequestError(f"{message}; `--update` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not a text file in UTF-8"
        raise RequestError(f"{path}: cannot be read: {reason}") from None
    try:
        content = json.loads(text, object_pairs_hook=_once)
        baseline = Baseline.model_validate_json(text)
    except ValidationError as error:
        lines = [
            f"{path}: {_dotted(p.path) + ': ' if p.path else ''}{p.message}"
            for p in problems_of(error, _keys_at)
        ]
        raise RequestError("\n".join(lines)) from None
    except ValueError as error:
        raise RequestError(f"{path}: broken JSON: {error}") from None
    # of what the file says: a recipe may have keys by now that it knows nothing of
    digest = _digest(content["conditions"])
    if digest != baseline.conditions_digest:
        raise RequestError(
            f"{path}: conditions_digest: does not fit the conditions ({digest}), changed by hand; "
            "measure again and use --update"
        )
    return baseline


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; JSON itself would take the last of two values of a key."""
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"the key {key!r} stands twice")
        seen[key] = value
    return seen


def dump(baseline: Baseline) -> str:
    """The file's text: a line for each metric and each cell, so that a diff names them."""
    content = baseline.model_dump(mode="json")
    lines = []
    for key, value in content.items():
        if key in ("metrics", "cells"):
            inner = ",\n".join(f"  {json.dumps(v, ensure_ascii=False)}" for v in value)
            lines.append(f' "{key}": [\n{inner}\n ]')
        elif key == "conditions":
            inner = ",\n".join(
                f'  "{k}": {json.dumps(v, ensure_ascii=False)}' for k, v in value.items()
            )
            lines.append(f' "{key}": {{\n{inner}\n }}')
        else:
            lines.append(f' "{key}": {json.dumps(value, ensure_ascii=False)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def differences(
    baseline: Baseline, data: Data, conditions: Conditions, metrics: Iterable[BaselineMetric]
) -> list[str]:
    """What makes a baseline incomparable: `recipe.epochs: 40 in the baseline, 3 here`.

    Variants and metrics that only one side has are no difference.
    """
    lines = []
    for metric in metrics:
        was = baseline.metric.get(metric.name, metric)
        for key in ("unit", "direction"):
            path = f"metrics.{metric.name}.{key}"
            lines += _differences(path, getattr(was, key), getattr(metric, key))
    old = baseline.data
    if old.digest != data.digest:
        lines += _differences("data.name", old.name, data.name)
        lines += _differences("data.digest", old.digest, data.digest)
    lines += _differences("data.other_digests", old.other_digests, data.other_digests)
    sides = baseline.conditions, conditions
    shared = [name for name in sides[0].variants if name in sides[1].variants]
    return [*lines, *_differences("", *(_content(side, shared) for side in sides))]


def _content(conditions: Conditions, variants: Iterable[str]) -> dict[str, Any]:
    content = conditions.model_dump(mode="json")
    return {**content, "variants": {name: content["variants"][name] for name in variants}}


def param_differences(was: Values, now: Values) -> str:
    """`weight: 0.003 in the baseline, 0.01 here`, for a row whose parameters changed."""
    return "; ".join(_differences("", was, now))


def joined(texts: Iterable[str]) -> str:
    """Distinct texts in one, `cpu; NVIDIA H100`; those already joined are taken apart first."""
    return "; ".join(sorted({part for text in texts for part in text.split("; ") if part}))


def _differences(path: str, was: Any, now: Any) -> list[str]:
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        if "name" in was and was["name"] != now.get("name"):  # then the parameters differ, too
            return [f"{path}: {was['name']} in the baseline, {now.get('name')} here"]
        lines = []
        for key in dict.fromkeys([*was, *now]):
            inner = path if key == "params" else f"{path}.{key}".lstrip(".")
            lines += _differences(inner, was.get(key, _ABSENT), now.get(key, _ABSENT))
        return lines
    if was == now:
        return []
    return [f"{path}: {_plain(was)} in the baseline, {_plain(now)} here"]


_ABSENT = object()


def _plain(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, Mapping):
        if set(value) == {"name", "params"}:
            params = ", ".join(f"{k}={_plain(v)}" for k, v in value["params"].items())
            return f"{value['name']}({params})" if params else str(value["name"])
        return json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, str) else json.dumps(value)


def _dotted(path: KeyPath) -> str:
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
    return text.removeprefix(".")


def _keys_at(path: KeyPath) -> list[str]:
    """The keys of the mapping at a path of the file."""
    model: Any = Baseline
    for part in path:
        if isinstance(part, int):
            continue
        models = {
            "data": Data, "conditions": Conditions, "metrics": BaselineMetric,
            "cells": BaselineCell, "recipe": Recipe, "variants": Column,
        }  # fmt: skip
        model = models.get(part, model)
    return list(model.model_fields)
