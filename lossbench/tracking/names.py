"""Representation of a trial in MLflow: run name, parameters, tags, metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Metric, Param, RunTag

from lossbench.errors.redaction import redacted
from lossbench.planning.nested import component_text, flatten, is_component
from lossbench.planning.trial import Trial, short_digest

PREFIX = "lossbench."
IDENTITY = f"{PREFIX}identity"
KIND = f"{PREFIX}kind"
TABLE = f"{PREFIX}table"
STATUS = f"{PREFIX}status"
REASON = f"{PREFIX}reason"
OWNER = f"{PREFIX}owner"
SUITE = f"{PREFIX}suite"
SEED = f"{PREFIX}seed"
VARIANT = f"{PREFIX}variant"
ROW = f"{PREFIX}row"
LOSS = f"{PREFIX}loss"
SEARCH = f"{PREFIX}search."
"""Prefix of the tags that name the searches whose points are an artifact of the table's run."""
LOOKS = f"{PREFIX}looks."
"""Prefix of the tags that name the records of looks that are an artifact of the table's run."""
SOURCES = "sources."
MEASURED = f"{PREFIX}measured"
"""Tag with the names of the measured evaluations; runs of earlier versions have none."""
ORIGIN = f"{PREFIX}origin"
"""Tag of a run that was copied: the id of the run in which the network was trained."""
ORIGIN_SUITE = f"{PREFIX}origin_suite"
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"

_MAX_VALUE = 5900  # MLflow's limits are 6000 for a parameter and 8000 for a tag


def run_name(trial: Trial) -> str:
    """`lgm(alpha=0.3) · 2-D · seed 0`, with ` · holdout` for trials that `selection` compares."""
    stage = " · holdout" if trial.holdout else ""
    return f"{trial.row} · {trial.variant} · seed {trial.seed}{stage}"


def params(trial: Trial) -> dict[str, str]:
    """Settings of a training by dotted key; the key of a component holds its name.

    MLflow forbids changes of parameters, so the evaluations, which may be added later, are a tag.
    """
    # `loss: {name: lgm, params: {alpha: 0.3}}` -> loss = lgm, loss.alpha = 0.3
    content = trial.model_dump(mode="json", exclude={"evaluate", "keep_weights"})
    leaves = flatten(content, omitted=("name", "params"))
    return {clean_key(key): shortened(_text(v)) for key, v in leaves if v is not None and v != {}}


OPTIONAL = {"dataset.classes", "dataset.train_size", "dataset.test_size", "recipe.clip_norm"}
"""Parameters of trials that are not stored where the setting is not used."""


def changed_sources(trial: Trial, stored: Mapping[str, str]) -> set[str]:
    """Keys of changed plugin code, if a stored trial differs from this one only in them.

    Args:
        trial: The trial; keys that an earlier version did not store are ignored.
        stored: Parameters of the stored trial.
    """
    own = params(trial)
    compared = (own.keys() & stored.keys()) | OPTIONAL
    differing = {key for key in compared if own.get(key) != stored.get(key)}
    differing -= {"suite", "variant", "row"}
    of_code = {key for key in differing if key.startswith(SOURCES)}
    return of_code if of_code == differing else set()


def _text(value: Any) -> str:
    if is_component(value):
        return component_text(value, _text)
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return str(value)


def trial_tags(trial: Trial) -> dict[str, str]:
    labels = {
        "kind": "trial",
        "identity": trial.identity,
        "suite": trial.suite,
        "variant": trial.variant,
        "row": trial.row,
        "loss": trial.loss.name,
        "seed": str(trial.seed),
    }
    named = {PREFIX + key: value for key, value in labels.items()}
    return {**named, **status_tags("running")}


def status_tags(status: str, reason: str = "") -> dict[str, str]:
    return {STATUS: status, REASON: reason} if reason else {STATUS: status}


def environment_tags(environment: Mapping[str, str]) -> dict[str, str]:
    return {f"{PREFIX}environment.{key}": value for key, value in environment.items()}


def clean_key(key: str) -> str:
    """Replace characters that MLflow does not allow in keys."""
    return re.sub(r"[^\w./: -]", "_", key)


def shortened(value: str) -> str:
    """Value truncated to MLflow's limit, with a digest that keeps truncated values distinct."""
    if len(value) <= _MAX_VALUE:
        return value
    digest = short_digest(value)
    return f"{value[:_MAX_VALUE]}... sha256 {digest}"


def as_params(values: Mapping[str, str]) -> list[Param]:
    return [Param(key, value) for key, value in values.items()]


def as_tags(values: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(clean_key(key), shortened(redacted(value))) for key, value in values.items()]


def as_metrics(values: Mapping[str, float], timestamp_ms: int, step: int) -> list[Metric]:
    """Metrics for MLflow, without infinite values, which it would store as 1.8e308."""
    return [
        Metric(clean_key(key), value, timestamp_ms, step)
        for key, value in values.items()
        if not math.isinf(value)
    ]
