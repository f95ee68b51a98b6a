"""Checks that the contents of an archive fit each other, and that they can be stored and shown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lossbench.archive.format import MAX_LABEL_LENGTH, MAX_NAME_LENGTH
from lossbench.planning.measurements import all_metrics
from lossbench.planning.plan import Plan
from lossbench.planning.trial import PlannedEvaluation, Trial
from lossbench.records import MeasurementRecord, TrialResult

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters other than tabs and ends of lines."""
_MAX_SEED = 2**31 - 1
_MAX_TIMESTAMP_MS = 10**14
_BROKEN = (KeyError, IndexError, ValueError, TypeError, AttributeError, ArithmeticError)
"""Exceptions of a plan whose parts contradict each other."""


def has_infinite_number(value: Any) -> bool:
    """Whether JSON content has a number that is not finite, such as 1e999."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(has_infinite_number, value.values()))
    return isinstance(value, list) and any(map(has_infinite_number, value))


def has_control_character(value: Any) -> bool:
    """Whether a text or key of JSON content could send commands to a terminal."""
    if isinstance(value, str):
        return _CONTROL.search(value) is not None
    if isinstance(value, Mapping):
        return any(has_control_character(part) for item in value.items() for part in item)
    return isinstance(value, list) and any(map(has_control_character, value))


def trial_problem(trial: Trial, identity: str, suite: str) -> str:
    """Reason why a specification cannot be used; empty if it can.

    Args:
        trial: The specification.
        identity: Identity of the training by the archive.
        suite: Name of the archive's suite.
    """
    if trial.identity != identity:
        return f"specifies the training {trial.identity}, not {identity}"
    if trial.suite != suite:
        return f"is of suite {trial.suite[:MAX_NAME_LENGTH]!r}"
    if not 0 <= trial.seed <= _MAX_SEED:
        return f"seed: should be from 0 to {_MAX_SEED}"
    for key, text in (("variant", trial.variant), ("row", trial.row)):
        if not _is_label(text):
            return f"{key}: should be at most {MAX_LABEL_LENGTH} printable characters"
    return ""


def result_problem(trial: Trial, result: TrialResult) -> str:
    """Reason why a result is not one of its trial; empty if it is."""
    if result.identity != trial.identity:
        return f"is of the training {result.identity}"
    if result.unmeasured or result.failures:
        return "unmeasured and failures are never stored"
    records = result.measurements
    if len({record.identity for record in records}) < len(records):
        return "measurements: two have the same identity"
    if (records or result.status == "finished") and result.metrics != all_metrics(records):
        return "its metrics are not those of its measurements"
    planned = dict(zip(trial.measurement_identities, trial.evaluate, strict=True))
    for record in records:
        if not _is_measurement(record, planned.get(record.identity), trial.identity):
            return f"measurement {record.identity} is not {record.name[:MAX_NAME_LENGTH]}"
    texts = [result.reason, result.weights_digest, result.device, *result.environment.values()]
    names = [*result.metrics, *result.environment]
    for epoch in result.history:
        names += epoch.metrics
    for record in records:
        texts += [record.device, record.divergence]
        names += [record.name, *record.params, *record.environment]
    return _text_problem(texts, names) or _history_problem(trial, result)


def plan_problem(plan: Plan, trainings: Iterable[Trial]) -> str:
    """Reason why a plan cannot be reported; empty if it can.

    Args:
        plan: The plan.
        trainings: Trainings of the archive.
    """
    for name in _file_names(plan):
        if not _is_label(name) or name.startswith(".") or set(name) & set("/\\"):
            return f"cannot be the name of a metric or of a file: {name[:40]!r}"
    labels = [row.label for row in plan.rows]
    texts = [metric.label for metric in plan.metrics] + [metric.unit for metric in plan.metrics]
    texts += [artifact.title for artifact in plan.artifacts]
    if problem := _text_problem(texts, ()):
        return problem
    if not all(map(_is_label, labels)):
        return f"rows: labels should be at most {MAX_LABEL_LENGTH} printable characters"
    if not labels or len(set(labels)) < len(labels):
        return "rows: should be at least one, with different labels"
    if not plan.metrics or len({m.name for m in plan.metrics}) < len(plan.metrics):
        return "metrics: should be at least one, with different names"
    try:
        _ = plan.trials, plan.warnings, plan.selection_metric, plan.table_identity
    except _BROKEN as error:
        return f"its parts contradict each other: {error!r}"[:MAX_NAME_LENGTH]
    for trial in trainings:
        if trial.variant not in plan.suite.variants:
            return f"has no variant {trial.variant!r}, of which the archive has a training"
    return ""


def _is_measurement(
    record: MeasurementRecord, planned: PlannedEvaluation | None, training: str
) -> bool:
    """Whether a record is a measurement of a planned evaluation.

    Args:
        record: The record.
        planned: Evaluation of the suite with the identity of the record; None for an evaluation of
            another suite, which cannot be checked.
        training: Identity of the training.
    """
    if planned is None:
        return True
    same = (planned.name, planned.params) == (record.name, record.params)
    return same and planned.identity(training) == record.identity


def _history_problem(trial: Trial, result: TrialResult) -> str:
    epochs = [record.epoch for record in result.history]
    if epochs != sorted(set(epochs)) or not _is_within(epochs, 1, trial.recipe.epochs):
        return f"history: its epochs should increase from 1 to at most {trial.recipe.epochs}"
    if not _is_within([r.timestamp_ms for r in result.history], 0, _MAX_TIMESTAMP_MS):
        return "history: timestamp_ms: should be milliseconds since 1970"
    return ""


def _text_problem(texts: Iterable[str], names: Iterable[str]) -> str:
    """Reason why texts or names cannot be stored and printed; empty if they can."""
    for text in filter(None, texts):
        if not _is_label(text):
            return f"should be at most {MAX_LABEL_LENGTH} printable characters: {text[:40]!r}"
    for name in set(names):
        if not _is_label(name) or len(name) > MAX_NAME_LENGTH:
            return f"should be a name of at most {MAX_NAME_LENGTH} characters: {name[:40]!r}"
    return ""


def _file_names(plan: Plan) -> Iterator[str]:
    """Names of the plan that reports use in the names of files."""
    for metric in plan.metrics:
        yield metric.name
    for artifact in plan.artifacts:
        yield artifact.name
        yield artifact.key


def _is_within(values: Sequence[int], lowest: int, highest: int) -> bool:
    return not values or (lowest <= min(values) and max(values) <= highest)


def _is_label(text: str) -> bool:
    return 0 < len(text) <= MAX_LABEL_LENGTH and text.isprintable()
