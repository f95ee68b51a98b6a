"""Representation of a trial in MLflow: run name, parameters, tags, metrics."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from lossbench.errors.redaction import redacted
from lossbench.planning.nested import component_text, flatten, is_component
from lossbench.planning.trial import Trial, short_digest

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param, RunTag

PREFIX = "lossbench."
IDENTITY = f"{PREFIX}identity"
KIND = f"{PREFIX}kind"
TABLE = f"{PREFIX}table"
LABEL = f"{PREFIX}label"
"""Tag of a table's run: the label of its plan, which also names the report's folder."""
TABLES = f"{PREFIX}tables"
"""Tag of a trial: the labels of the tables that it is in now, as in `|digits|digits@seeds=0|`."""
CELL = f"{PREFIX}cell"
"""Tag of a trial for grouping: `lgm(alpha=0.3) · 2-D`, the same for all seeds."""
REPORTED = f"{PREFIX}reported"
"""Tag of a table's run that shows a report: the number of its trials that have a result."""
EARLIER = f"{PREFIX}earlier"
"""Tag of a table's run whose label belongs to a run with other settings now."""
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

_MAX_KEY = 240  # and a prefix; 250 is the limit of MLflow
MAX_TEXT = 5000
"""Length of a text that surely fits into a tag, with a sentence or two added."""
_MAX_VALUE = 5900  # MLflow's limits are 6000 for a parameter and 8000 for a tag


def run_name(trial: Trial) -> str:
    """`lgm(alpha=0.3) · 2-D · seed 0`, with ` · holdout` for trials that `selection` compares."""
    return f"{trial.row} · {trial.variant} · seed {trial.seed}{_stage(trial)}"


def cell_tags(trial: Trial) -> dict[str, str]:
    """Labels by which the runs of trials are grouped."""
    cell = f"{trial.row} · {trial.variant}{_stage(trial)}"
    return {VARIANT: trial.variant, ROW: trial.row, CELL: cell}


def _stage(trial: Trial) -> str:
    return " · holdout" if trial.holdout else ""


def params(trial: Trial) -> dict[str, str]:
    """Settings of a training by dotted key; the key of a component holds its name.

    MLflow forbids changes of parameters, so the evaluations, which may be added later, are a tag.
    """
    # `loss: {name: lgm, params: {alpha: 0.3}}` -> loss = lgm, loss.alpha = 0.3
    content = trial.model_dump(mode="json", exclude={"evaluate", "keep_weights"})
    leaves = flatten(content, omitted=("name", "params"))
    return {clean_key(key): shortened(_text(v)) for key, v in leaves if v is not None and v != {}}


OPTIONAL = (
    "dataset.classes",
    "dataset.train_size",
    "dataset.test_size",
    "dataset.per_class",
    "dataset.imbalance.",
    "dataset.label_noise.",
    "holdout_labels",
    "recipe.clip_norm",
    "recipe.schedule.minimum",
    "recipe.schedule.warmup",
    "recipe.weight_averaging",
)
"""Begin of the keys of parameters of trials that are not stored where the setting is not used."""


def changed_sources(trial: Trial, stored: Mapping[str, str]) -> set[str]:
    """Keys of changed plugin code, if a stored trial differs from this one only in them.

    Args:
        trial: The trial; keys that an earlier version did not store are ignored.
        stored: Parameters of the stored trial.
    """
    own = params(trial)
    optional = {key for key in own.keys() | stored.keys() if key.startswith(OPTIONAL)}
    compared = (own.keys() & stored.keys()) | optional
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
        "loss": trial.loss.name,
        "seed": str(trial.seed),
    }
    named = {PREFIX + key: value for key, value in labels.items()}
    return {**named, **cell_tags(trial), **status_tags("running")}


def status_tags(status: str, reason: str = "") -> dict[str, str]:
    return {STATUS: status, REASON: reason} if reason else {STATUS: status}


def environment_tags(environment: Mapping[str, str]) -> dict[str, str]:
    return {f"{PREFIX}environment.{key}": value for key, value in environment.items()}


def clean_key(key: str) -> str:
    """Replace characters that MLflow does not allow in keys."""
    return re.sub(r"[^\w./: -]", "_", key)


def path_keys(paths: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """Keys with a `/` between their parts, as MLflow allows them, without equal ones.

    Args:
        paths: Parts of each key, as in `("error", "2-D", "mean", "lgm(alpha=0.3)")`.

    Returns:
        The parts -> `error/2-D/mean/lgm alpha 0.3`. A digest is appended where two keys would be
        equal, or where one would be too long.
    """
    keys = {path: "/".join(map(_key_part, path)) for path in paths}
    counts = Counter(keys.values())
    return {
        path: key
        if counts[key] == 1 and len(key) <= _MAX_KEY
        else f"{key[: _MAX_KEY - 20].rstrip('/ ')} {short_digest('/'.join(path))}"
        for path, key in keys.items()
    }


def _key_part(text: str) -> str:
    """`lgm(alpha=0.3, lambda=0.1)` -> `lgm alpha 0.3 lambda 0.1`."""
    words = re.sub(r"[^\w.-]+", " ", text).split()
    return " ".join(words).lstrip(".") or "_"


def with_label(labels: str, label: str) -> str:
    """Value of `TABLES` with one more label."""
    return labels if f"|{label}|" in labels else f"{labels or '|'}{label}|"


def without_label(labels: str, label: str) -> str:
    """Value of `TABLES` without a label."""
    return "|".join(part for part in labels.split("|") if part != label)


def table_filter(label: str) -> str:
    """MLflow's search text for the trials that are in a table now."""
    return f"tags.`{TABLES}` LIKE '%|{label}|%'"


def shortened(value: str) -> str:
    """Value truncated to MLflow's limit, with a digest that keeps truncated values distinct."""
    if len(value) <= _MAX_VALUE:
        return value
    digest = short_digest(value)
    return f"{value[:_MAX_VALUE]}... sha256 {digest}"


def as_params(values: Mapping[str, str]) -> list[Param]:
    from mlflow.entities import Param

    return [Param(key, value) for key, value in values.items()]


def as_tags(values: Mapping[str, str]) -> list[RunTag]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in tag_texts(values).items()]


def tag_texts(values: Mapping[str, str]) -> dict[str, str]:
    """Tags as MLflow stores them: with allowed keys, shortened, and without secrets."""
    return {clean_key(key): shortened(redacted(value)) for key, value in values.items()}


def as_metrics(values: Mapping[str, float], timestamp_ms: int, step: int) -> list[Metric]:
    """Metrics for MLflow, without infinite values, which it would store as 1.8e308."""
    from mlflow.entities import Metric

    return [
        Metric(clean_key(key), value, timestamp_ms, step)
        for key, value in values.items()
        if not math.isinf(value)
    ]
