"""A plan as JSON, so that reports can be made without the data, the suite file and the plugins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import from_json

from lossbench.planning.head_requirements import HeadRequirements
from lossbench.planning.plan import Plan
from lossbench.planning.planned_column import PlannedColumn
from lossbench.planning.revisions import DataFacts
from lossbench.planning.rows import Row
from lossbench.planning.search import Search
from lossbench.planning.trial import PlannedEvaluation
from lossbench.records import Artifact, Metric, Strict
from lossbench.registry import Notation
from lossbench.suite.grammar import SearchRange, Space
from lossbench.suite.schema import Component, Holdout, LossEntry, Suite

_FACTS = TypeAdapter(DataFacts)
_ONCE_SHARED = ("data_digest", "validation_digest", "evaluations", "facts", "weights")
"""Keys that earlier versions wrote once for all columns."""


def _without_unused(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The content without those keys that are not used, as in archives of earlier versions."""
    return {name: value for name, value in content.items() if value or name not in keys}


class _Row(Strict):
    label: str
    loss: Component
    varied: dict[str, Any]
    variants: list[str] | None
    entry_label: str | None = None
    tuned: dict[str, Any] = Field(default={})

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_unused(to_dict(self), "entry_label", "tuned")


class _Search(Strict):
    loss: Component
    spaces: dict[str, SearchRange | list[Any]]
    integers: list[str]
    label: str | None = None
    tuned: dict[str, SearchRange | list[Any]] = Field(default={})

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_unused(to_dict(self), "label", "tuned")


class _Head(Strict):
    variant: str
    loss: str
    requirements: HeadRequirements


class _Limits(Strict):
    loss: str
    parameter: str
    lowest: float | None
    highest: float | None


class _Column(Strict):
    data_digest: str
    validation_digest: str
    holdout: Holdout
    weights_digest: str
    evaluations: list[PlannedEvaluation]
    facts: dict[str, Any]

    @field_validator("facts")
    @classmethod
    def _valid_facts(cls, value: dict[str, Any]) -> dict[str, Any]:
        _FACTS.validate_python(value)
        return value


class PlanRecord(Strict):
    """The content of a plan that reports, baselines and rankings depend on.

    Plugins are left out. See `Plan`, and `portable.portable_plan` for its paths. Earlier versions
    wrote one data set, its facts and its evaluations for all columns.
    """

    suite: Suite
    rows: list[_Row]
    compared: list[_Row]
    losses: list[LossEntry | _Search]
    table_digest: str
    columns: dict[str, _Column]
    metrics: list[Metric]
    artifacts: list[Artifact]
    only: str | None
    changes: list[str]
    sources: dict[str, str]
    head_requirements: list[_Head]
    limits: list[_Limits] = Field(default=[])
    notation: dict[str, Notation] = Field(default={})
    omitted: dict[str, dict[str, Any]] = Field(default={})

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, to_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_unused(to_dict(self), "omitted")

    @model_validator(mode="after")
    def _has_all_columns(self) -> PlanRecord:
        if missing := self.suite.variants.keys() - self.columns.keys():
            raise ValueError(f"columns: lacks {', '.join(sorted(missing))}")
        return self


def read_plan_record(content: str | bytes) -> PlanRecord:
    """Read the record of a plan, also one of an earlier version.

    Raises:
        ValidationError: It is not the record of a plan.
    """
    parsed = from_json(content)
    if isinstance(parsed, dict) and "data_digest" in parsed:
        content = json.dumps(_with_columns(parsed))
    return PlanRecord.model_validate_json(content)


def _with_columns(content: Mapping[str, Any]) -> dict[str, Any]:
    """The record of an earlier version with an entry per column; unchanged if it is damaged."""
    rest = {key: value for key, value in content.items() if key not in _ONCE_SHARED}
    try:
        selection = content["suite"].get("selection") or {"holdout": 0.0}
        rest["table_digest"] = content["validation_digest"] or content["data_digest"]
        rest["columns"] = {
            name: {
                **{key: content[key] for key in _ONCE_SHARED if key != "weights"},
                "holdout": selection["holdout"],
                "weights_digest": content["weights"].get(name, ""),
            }
            for name in content["suite"]["variants"]
        }
    except (KeyError, AttributeError, TypeError):
        return dict(content)  # its validation says what is missing
    return rest


def plan_record(plan: Plan) -> PlanRecord:
    """The record of a plan."""
    return PlanRecord(
        suite=plan.suite,
        rows=[_row_record(row) for row in plan.rows],
        compared=[_row_record(row) for row in plan.compared],
        losses=[_loss_record(loss) for loss in plan.losses],
        table_digest=plan.table_digest,
        columns={
            name: _Column(
                data_digest=column.data_digest,
                validation_digest=column.validation_digest,
                holdout=column.holdout,
                weights_digest=column.weights_digest,
                evaluations=list(column.evaluations),
                facts=_facts(column.facts),
            )
            for name, column in plan.columns.items()
        },
        metrics=list(plan.metrics),
        artifacts=list(plan.artifacts),
        only=plan.only,
        changes=list(plan.changes),
        sources=dict(plan.sources),
        head_requirements=[
            _Head(variant=variant, loss=loss, requirements=requirements)
            for (variant, loss), requirements in plan.head_requirements.items()
        ],
        limits=[
            _Limits(loss=loss, parameter=parameter, lowest=lowest, highest=highest)
            for (loss, parameter), (lowest, highest) in plan.limits.items()
        ],
        notation=dict(plan.notation),
        omitted={name: dict(defaults) for name, defaults in plan.omitted.items()},
    )


def _facts(facts: DataFacts) -> dict[str, Any]:
    content: dict[str, Any] = _FACTS.dump_python(facts, mode="json")
    if not facts.tuned_steps:
        del content["tuned_steps"]
    return content


def plan_of(record: PlanRecord) -> Plan:
    """The plan of a record."""
    return Plan(
        suite=record.suite,
        rows=tuple(map(_row, record.rows)),
        compared=tuple(map(_row, record.compared)),
        losses=tuple(map(_loss, record.losses)),
        table_digest=record.table_digest,
        columns={
            name: PlannedColumn(
                data_digest=column.data_digest,
                validation_digest=column.validation_digest,
                holdout=column.holdout,
                weights_digest=column.weights_digest,
                evaluations=tuple(column.evaluations),
                facts=_FACTS.validate_python(column.facts),
            )
            for name, column in record.columns.items()
        },
        metrics=tuple(record.metrics),
        artifacts=tuple(record.artifacts),
        only=record.only,
        changes=tuple(record.changes),
        sources=record.sources,
        head_requirements={
            (head.variant, head.loss): head.requirements for head in record.head_requirements
        },
        limits={(each.loss, each.parameter): (each.lowest, each.highest) for each in record.limits},
        notation=record.notation,
        omitted=record.omitted,
    )


def _row_record(row: Row) -> _Row:
    variants = None if row.variants is None else sorted(row.variants)
    return _Row(
        label=row.label,
        loss=row.loss,
        varied=dict(row.varied),
        variants=variants,
        entry_label=row.entry_label,
        tuned=dict(row.tuned),
    )


def _row(record: _Row) -> Row:
    variants = None if record.variants is None else frozenset(record.variants)
    return Row(record.label, record.loss, record.varied, variants, record.entry_label, record.tuned)


def _loss_record(loss: LossEntry | Search) -> LossEntry | _Search:
    if isinstance(loss, LossEntry):
        return loss
    return _Search(
        loss=loss.loss,
        spaces=_listed(loss.spaces),
        integers=sorted(loss.integers),
        label=loss.label,
        tuned=_listed(loss.tuned),
    )


def _listed(spaces: Mapping[str, Space]) -> dict[str, SearchRange | list[Any]]:
    return {k: v if isinstance(v, SearchRange) else list(v) for k, v in spaces.items()}


def _loss(record: LossEntry | _Search) -> LossEntry | Search:
    if isinstance(record, LossEntry):
        return record
    spaces, tuned = _spaces(record.spaces), _spaces(record.tuned)
    return Search(record.loss, spaces, frozenset(record.integers), record.label, tuned)


def _spaces(listed: Mapping[str, SearchRange | list[Any]]) -> dict[str, Space]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in listed.items()}
