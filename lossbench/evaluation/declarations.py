"""Checks of what an evaluation declares and of what it returns, with messages for its author."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lossbench.evaluation.base import Evaluation, Measurement
from lossbench.records import HELD_OUT_PREFIX, Artifact, Metric

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Valid names of the metrics and artifacts of users, which are also names of files and columns."""
MAX_TEXT_LENGTH = 300
"""Largest number of characters in a label or a unit."""
RESERVED = ("lr", "test_error", "wall_time_sec", "peak_memory_mib")
RESERVED_PREFIXES = ("train_", HELD_OUT_PREFIX)
"""Names of what is recorded for every trial."""


class WrongMeasurementError(Exception):
    """An evaluation returned something else than it declares."""


def declaration_problem(metrics: Any, artifacts: Any) -> str:
    """First fault of what a user's evaluation declares; empty if there is none.

    Args:
        metrics: Result of `Evaluation.metrics`, of any type.
        artifacts: Result of `Evaluation.artifacts`, of any type.
    """
    if not isinstance(metrics, tuple | list) or not all(isinstance(m, Metric) for m in metrics):
        return "metrics() should return a tuple of lossbench.evaluation.Metric"
    if not metrics:
        return "metrics() should return at least one metric"
    if not isinstance(artifacts, tuple | list) or not all(
        isinstance(a, Artifact) for a in artifacts
    ):
        return "artifacts() should return a tuple of lossbench.records.Artifact"
    for metric in metrics:
        if not NAME.fullmatch(metric.name):
            return f"metric {metric.name!r}: a name should have letters, digits, _ - and . only"
        if metric.name in RESERVED or metric.name.startswith(RESERVED_PREFIXES):
            return f"metric {metric.name!r}: this name is used for what every trial records"
        if not metric.label.strip():
            return f"metric {metric.name!r}: its label is empty"
        for text in (metric.label, metric.unit):
            if not text.isprintable() or len(text) > MAX_TEXT_LENGTH:
                return (
                    f"metric {metric.name!r}: label and unit should be one line of at most "
                    f"{MAX_TEXT_LENGTH} characters"
                )
    for artifact in artifacts:
        if not NAME.fullmatch(artifact.name):
            return f"artifact {artifact.name!r}: a name should have letters, digits, _ - and . only"
    for kind, named in (("metric", metrics), ("artifact", artifacts)):
        twice = [name for name, count in Counter(x.name for x in named).items() if count > 1]
        if twice:
            return f"{kind} {twice[0]!r} is declared twice"
    return ""


def checked(evaluation: Evaluation, measurement: Any) -> Measurement:
    """The measurement that an evaluation returned, with plain numbers.

    Raises:
        WrongMeasurementError: It is not a measurement of the declared metrics and artifacts.
    """
    if not isinstance(measurement, Measurement):
        raise WrongMeasurementError(
            f"should return a lossbench.evaluation.Measurement, not {type(measurement).__name__}"
        )
    declared = [metric.name for metric in evaluation.metrics()]
    _require_names("metric", measurement.values, declared)
    _require_names("artifact", measurement.arrays, [a.name for a in evaluation.artifacts()])
    values = {name: _number(name, measurement.values[name]) for name in declared}
    for name, arrays in measurement.arrays.items():
        if not isinstance(arrays, Mapping) or not all(map(_is_plain, arrays.values())):
            raise WrongMeasurementError(
                f"artifact {name!r} should be a mapping of names to NumPy arrays"
            )
    return Measurement(values, measurement.arrays)


def _require_names(kind: str, returned: Any, declared: Collection[str]) -> None:
    if not isinstance(returned, Mapping):
        raise WrongMeasurementError(
            f"its {kind}s should be a mapping, not {type(returned).__name__}"
        )
    for name in declared:
        if name not in returned:
            raise WrongMeasurementError(f"{kind} {name!r} is declared, but was not returned")
    for name in returned:
        if name not in declared:
            raise WrongMeasurementError(f"{kind} {name!r} was returned, but is not declared")


def _number(name: str, value: Any) -> float:
    if isinstance(value, Tensor | np.ndarray) and value.shape == ():
        value = value.item()
    if not isinstance(value, Real | np.number):
        raise WrongMeasurementError(f"metric {name!r} should be a number, not {value!r}"[:200])
    return float(value)


def _is_plain(array: NDArray[Any] | Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype != object
