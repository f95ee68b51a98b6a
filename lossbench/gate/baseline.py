"""A baseline: the results of a suite, and their conditions.

Current results are converted to the same form (`from_results`), so that both sides are compared
field by field, and `--update` writes the current side unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from lossbench.analysis.statistics import Summary
from lossbench.errors import did_you_mean
from lossbench.planning.plan import matches
from lossbench.planning.trial import short_digest
from lossbench.records import HELD_OUT_PREFIX, Strict
from lossbench.suite.schema import Component, Holdout, NonNegativeInt, Recipe

SCHEMA = 1
DEFAULT_MIN_EFFECT = 0.5
"""Default minimum effect in percentage points; metrics with another unit have no default."""

Values = Mapping[str, Any]
CellKey = tuple[str, str, str, str]


def cell_key(
    variant: str, loss: str, params: Values, metric: str, tuned: Values | None = None
) -> CellKey:
    """Key that is equal for the same cell of two results; 1 and 1.0 are the same parameter."""
    texts = [_values_text(params), *([_values_text(tuned)] if tuned else [])]
    return variant, loss, " ".join(texts), metric


def _values_text(values: Values) -> str:
    plain = {key: float(v) if type(v) is int else v for key, v in values.items()}
    return json.dumps(plain, sort_keys=True)


class BaselineData(Strict):
    """The data of training and evaluation.

    Attributes:
        name: Name of the data set; not compared.
        digest: Digest of all images and labels.
        other_digests: Digests of other data that evaluations read, by their name in the suite.
    """

    name: str
    digest: str
    other_digests: dict[str, str]


class BaselineColumn(Strict):
    """A variant, including all defaults.

    Attributes:
        model, augment: Model and augmentation.
        data, dataset, recipe, evaluate, holdout: Conditions that differ from those of the whole
            baseline; None otherwise. `dataset` has the part of the data set, the keys of the
            suite's `dataset` that change the training set, and `holdout_labels` if they matter.
    """

    model: Component
    augment: list[Component]
    data: BaselineData | None = None
    dataset: dict[str, Any] | None = None
    recipe: Recipe | None = None
    evaluate: list[Component] | None = None
    holdout: Holdout | None = None

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what does not differ, so that the digests of earlier baselines stay."""
        content: dict[str, Any] = to_dict(self)
        return {key: value for key, value in content.items() if value is not None}


class Conditions(Strict):
    """Everything besides the loss that determines the numbers; equal on both sides of a check.

    Attributes:
        classes, train_size, test_size: Part of the data set.
        recipe: Recipe of all rows; columns may differ, see `BaselineColumn`.
        variants: Columns by name.
        evaluate: Evaluations.
        holdout: Share of the training set that selection measures on, or `validation` for the
            validation set; 0 without selection.
        threads: CPU threads per training.
        workers: Processes per training.
    """

    classes: list[int] | None
    train_size: int | None
    test_size: int | None
    recipe: Recipe
    variants: dict[str, BaselineColumn]
    evaluate: list[Component]
    holdout: Holdout
    threads: int
    workers: int

    @property
    def digest(self) -> str:
        return json_digest(self.model_dump(mode="json"))

    @property
    def dataset(self) -> dict[str, Any]:
        """Part of the data set that columns use unless they say otherwise."""
        return {
            "classes": self.classes,
            "train_size": self.train_size,
            "test_size": self.test_size,
        }


class BaselineMetric(Strict):
    """A metric and its minimum effect.

    Attributes:
        name: Name as in the report's JSON.
        unit: Unit of the values; empty without a unit.
        direction: Direction of better values.
        min_effect: Smallest worsening that can be a regression, in the metric's unit
            (percentage points for percentages).
    """

    name: str
    unit: str
    direction: Literal["lower", "higher"]
    min_effect: float = Field(default=DEFAULT_MIN_EFFECT, gt=0)


class BaselineCell(Strict):
    """The values of one row in one column for one metric.

    Attributes:
        variant: Name of the column.
        row: Label of the row; not compared.
        metric: Name of one of the file's metrics.
        seeds: Seeds with a value.
        values: Values in the order of `seeds`.
        diverged: Seeds without a value: the training diverged, or the metric was not finite.
        loss, params: Name and parameters of the row's loss, including all defaults.
        tuned: Tuned recipe keys with their values; left out of the file if there are none.
    """

    variant: str
    row: str
    metric: str
    seeds: list[NonNegativeInt]
    values: list[float]
    diverged: list[NonNegativeInt]
    loss: str
    params: dict[str, Any]
    tuned: dict[str, Any] = Field(default={})

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = to_dict(self)
        if not self.tuned:
            content.pop("tuned", None)
        return content

    @property
    def key(self) -> CellKey:
        """Key that finds the same cell on the other side, by its values and not its label."""
        return cell_key(self.variant, self.loss, self.params, self.metric, self.tuned)

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
    def seeds_with_result(self) -> set[int]:
        """Seeds with a result: those with a value and those that diverged."""
        return {*self.seeds, *self.diverged}

    def matches_only(self, only: str | None) -> bool:
        """Whether the glob of `--only` includes the cell; None includes all."""
        return only is None or matches(only, self.variant, self.row, self.loss)

    @property
    def summary(self) -> Summary:
        return Summary(tuple(self.values), len(self.diverged))

    @model_validator(mode="after")
    def _is_whole(self) -> BaselineCell:
        if len(self.seeds) != len(self.values):
            raise ValueError(f"{len(self.values)} values for {len(self.seeds)} seeds")
        if not self.seeds_with_result:
            raise ValueError("has no seed")
        if len(self.seeds_with_result) < len(self.seeds) + len(self.diverged):
            raise ValueError("duplicate seed")
        return self


class Baseline(Strict):
    """A baseline file.

    Attributes:
        version: Version of the file format.
        suite: Name of the suite.
        command: Command that trains the cells.
        measured: Day of the last trial, YYYY-MM-DD (UTC).
        device: Device of the trials; several are joined by `; `.
        environment: Versions of the libraries that determine the numbers.
        data: Data of training and evaluation.
        conditions_digest: Digest of `conditions`; reveals that a file was edited by hand.
        conditions: Recipe, columns and other conditions.
        metrics: Metrics with their minimum effects.
        cells: One entry per row, column and metric.
    """

    version: Literal[1] = SCHEMA  # type: ignore[assignment]
    suite: str
    command: str
    measured: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    device: str
    environment: dict[str, str]
    data: BaselineData
    conditions_digest: str
    conditions: Conditions
    metrics: list[BaselineMetric] = Field(min_length=1)
    cells: list[BaselineCell]

    @cached_property
    def by_key(self) -> dict[CellKey, BaselineCell]:
        return {cell.key: cell for cell in self.cells}

    @cached_property
    def metric_by_name(self) -> dict[str, BaselineMetric]:
        return {metric.name: metric for metric in self.metrics}

    @model_validator(mode="after")
    def _fits_together(self) -> Baseline:
        if len(self.by_key) < len(self.cells):
            raise ValueError("cells: duplicate cell")
        if len(self.metric_by_name) < len(self.metrics):
            raise ValueError("metrics: duplicate metric")
        for cell in self.cells:
            if cell.metric not in self.metric_by_name:
                known = did_you_mean(cell.metric, self.metric_by_name)
                raise ValueError(f"cells: unknown metric {cell.metric!r}{known}")
            if cell.variant not in self.conditions.variants:
                known = did_you_mean(cell.variant, self.conditions.variants)
                raise ValueError(f"cells: unknown variant {cell.variant!r}{known}")
        return self


def join_distinct(texts: Iterable[str]) -> str:
    """Distinct texts joined by `; `, as in `cpu; NVIDIA H100`; each may be joined itself."""
    return "; ".join(sorted({part for text in texts for part in text.split("; ") if part}))


def json_digest(content: Any) -> str:
    """Digest of JSON content."""
    return short_digest(json.dumps(content, sort_keys=True))
