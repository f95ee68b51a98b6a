"""The metrics that the evaluations declare."""

from __future__ import annotations

from collections import Counter

import pytest

from lossbench.evaluation import EVALUATIONS, Evaluation
from lossbench.records import METRIC_GROUPS, Metric


def with_defaults(name: str) -> Evaluation:
    """Evaluation with its default parameters; a data set is `digits` where it has no default."""
    fields = EVALUATIONS[name].parameters.model_fields
    required = {key: "digits" for key, field in fields.items() if field.is_required()}
    return EVALUATIONS[name].create(**required)


@pytest.mark.parametrize("name", EVALUATIONS.builtin_names)
def test_every_metric_has_a_known_group(name: str) -> None:
    metrics = with_defaults(name).metrics()
    assert metrics
    for metric in metrics:
        assert metric.group in METRIC_GROUPS, metric.name


def test_names_and_labels_differ_between_evaluations() -> None:
    """All evaluations can be in one suite, and their tables have different headings."""
    metrics = [m for name in EVALUATIONS.builtin_names for m in with_defaults(name).metrics()]
    assert max(Counter(metric.name for metric in metrics).values()) == 1
    assert max(Counter(metric.label for metric in metrics).values()) == 1


def test_a_metric_stored_without_a_group_is_read() -> None:
    assert Metric.model_validate_json('{"name": "error", "label": "error"}').group == ""
