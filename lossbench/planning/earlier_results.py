"""Results of earlier versions, in which the evaluations were part of a trial's identity.

They stored the specification of each trial with all its evaluations. Without these it determines
the training, and each of today's evaluations that it lists has been measured.
"""

from __future__ import annotations

import json
from typing import Any

from lossbench.planning.measurements import with_measurements
from lossbench.planning.trial import PlannedEvaluation, Trial
from lossbench.records import MeasurementRecord, TrialResult


def trained_trial(content: bytes) -> Trial | None:
    """The trial of a stored specification, with an empty list of evaluations; None if unreadable.

    Args:
        content: JSON of a trial of this version or of an earlier one.
    """
    try:
        fields = json.loads(content)
        fields.pop("other_digests", None)
        evaluated = {key for key in fields["sources"] if key.startswith("evaluation ")}
        fields["sources"] = {k: v for k, v in fields["sources"].items() if k not in evaluated}
        fields["evaluate"] = []
        return Trial.model_validate_json(json.dumps(fields))
    except (ValueError, TypeError, KeyError, AttributeError):  # pydantic's are ValueErrors
        return None


def upgraded(trial: Trial, content: bytes, stored: TrialResult) -> TrialResult:
    """Result of an earlier version with the metrics of a trial's evaluations as measurements.

    An evaluation is taken over if it had the same parameters, data and code.

    Args:
        trial: Trial of this version with the same training.
        content: Specification of the trial as the earlier version stored it.
        stored: Its result.
    """
    earlier = json.loads(content)
    records = []
    for evaluation, identity in zip(trial.evaluate, trial.measurement_identities, strict=True):
        measured = bool(evaluation.metrics) and stored.metrics.keys() >= set(evaluation.metrics)
        if measured and _was_listed(evaluation, earlier):
            records.append(
                MeasurementRecord(
                    identity=identity,
                    name=evaluation.name,
                    params=evaluation.params,
                    metrics={name: stored.metrics[name] for name in evaluation.metrics},
                    device=stored.device,
                    environment=stored.environment,
                )
            )
    if stored.status != "finished" and not records:
        return stored
    return with_measurements(stored, records)


def _was_listed(evaluation: PlannedEvaluation, earlier: dict[str, Any]) -> bool:
    """Whether a stored specification lists an evaluation with the same data and code."""
    component = {"name": evaluation.name, "params": evaluation.params}
    digests = earlier.get("other_digests", {})
    source = earlier.get("sources", {}).get(f"evaluation {evaluation.name}", "")
    return (
        json.loads(json.dumps(component)) in earlier["evaluate"]
        and all(digests.get(k) == v for k, v in evaluation.other_digests.items())
        and source == evaluation.source
        and not evaluation.rounding_changed
    )
