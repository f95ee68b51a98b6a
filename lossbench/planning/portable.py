"""Plans, trials and results without the folders of the machine, for archives.

Data and initial weights are identified by their digests, so their folders are left out. Parameters
that are part of the identity of a training are kept as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from lossbench.errors.redaction import redacted
from lossbench.planning.measurements import with_own_last
from lossbench.planning.plan import Plan
from lossbench.planning.planned_column import PlannedColumn
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.suite.schema import Component, DatasetChoice, Suite, Variant

_FOLDERS = re.compile(r"(?<![\w/.])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\",;:\])}]+[/\\])+")
"""Folders of an absolute path in a text."""


def portable_plan(plan: Plan) -> Plan:
    """The plan without the folders of its data and weights, and without plugins."""
    return replace(
        plan,
        suite=_portable_suite(plan.suite),
        columns={name: _portable_column(column) for name, column in plan.columns.items()},
        changes=tuple(map(_portable_text, plan.changes)),
        plugins=(),
    )


def _portable_column(column: PlannedColumn) -> PlannedColumn:
    facts = replace(
        column.facts,
        notes=tuple(map(_portable_text, column.facts.notes)),
        warnings=tuple(map(_portable_text, column.facts.warnings)),
    )
    evaluations = tuple(evaluation.without_folders() for evaluation in column.evaluations)
    return replace(column, evaluations=evaluations, facts=facts)


def portable_trial(trial: Trial) -> Trial:
    """The trial without the folders of its data and weights; its identities stay."""
    return trial.model_copy(
        update={
            "dataset": _portable_dataset(trial.dataset),
            "model": _portable_model(trial.model) if trial.weights_digest else trial.model,
            "evaluate": tuple(evaluation.without_folders() for evaluation in trial.evaluate),
        }
    )


def portable_result(trial: Trial, result: TrialResult) -> TrialResult:
    """The result of a trial without folders in its parameters and messages."""
    own = dict(zip(trial.measurement_identities, trial.evaluate, strict=True))
    result = with_own_last(trial, result)
    records = []
    for record in result.measurements:
        planned = own.get(record.identity)
        params = planned.without_folders().params if planned else _portable_params(record.params)
        divergence = _portable_text(record.divergence)
        records.append(record.model_copy(update={"params": params, "divergence": divergence}))
    reason = _portable_text(result.reason)
    return result.model_copy(update={"reason": reason, "measurements": tuple(records)})


def _portable_suite(suite: Suite) -> Suite:
    variants = {name: _portable_variant(variant) for name, variant in suite.variants.items()}
    return suite.model_copy(
        update={
            "dataset": _portable_dataset(suite.dataset),
            "model": _portable_model(suite.model),
            "variants": variants,
            "evaluate": _portable_components(suite.evaluate),
        }
    )


def _portable_variant(variant: Variant) -> Variant:
    changed: dict[str, Any] = {"model": _without_checkpoint_folder(variant.model)}
    changed["dataset"] = own = dict(variant.dataset)
    if "name" in own:
        own["name"] = _last_part(own["name"])
    if isinstance(own.get("label_noise"), Mapping) and "from" in own["label_noise"]:
        noise = own["label_noise"]
        own["label_noise"] = {**noise, "from": _last_part(noise["from"])}
    if variant.evaluate is not None:
        changed["evaluate"] = _portable_components(variant.evaluate)
    return variant.model_copy(update=changed)


def _portable_components(chosen: Iterable[Component]) -> list[Component]:
    return [each.model_copy(update={"params": _portable_params(each.params)}) for each in chosen]


def _portable_dataset(dataset: DatasetChoice) -> DatasetChoice:
    update: dict[str, Any] = {"name": _last_part(dataset.name)}
    if (noise := dataset.label_noise) is not None and noise.file is not None:
        file = _last_part(noise.file)
        update["label_noise"] = noise.model_copy(update={"file": file})
    return dataset.model_copy(update=update)


def _portable_model(model: Component) -> Component:
    return model.model_copy(update={"params": _without_checkpoint_folder(model.params)})


def _without_checkpoint_folder(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a model; other paths than its checkpoint are part of the identity."""
    return {k: _last_part(v) if k == "checkpoint" else v for k, v in params.items()}


def _portable_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of an evaluation with the last part of each path."""
    return {
        key: _last_part(value) if key == "dataset" or _is_path(value) else value
        for key, value in params.items()
    }


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and (
        value.startswith("~")
        or PurePosixPath(value).is_absolute()
        or PureWindowsPath(value).is_absolute()
    )


def _last_part(path: Any) -> Any:
    return PureWindowsPath(path).name or path if isinstance(path, str) else path


def _portable_text(text: str) -> str:
    """A text without folders and secrets."""
    return redacted(_FOLDERS.sub("", text)) if text else text
