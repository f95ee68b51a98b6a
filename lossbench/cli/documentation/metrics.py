"""Metrics of an evaluation with its default parameters."""

from __future__ import annotations

from lossbench.evaluation import Evaluation
from lossbench.records import Metric
from lossbench.registry import Entry


def example_metrics(entry: Entry[Evaluation]) -> tuple[Metric, ...]:
    """Metrics of an evaluation; empty if it cannot be created without knowing more.

    Parameters without a default get their own name in capitals, which then is part of the names of
    the metrics: `other_DATASET_eer`.
    """
    fields = entry.parameters.model_fields
    required = {name: name.upper() for name, field in fields.items() if field.is_required()}
    try:
        return tuple(entry.create(**required).metrics())
    except Exception:  # a plugin may raise any exception, and a parameter may not be a text
        return ()


def metric_cells(metric: Metric) -> tuple[str, ...]:
    """Cells of a metric in a table with `METRIC_HEADINGS`."""
    better = "higher" if metric.higher_is_better else "lower"
    better = better if metric.judged else "neither"
    return metric.name, metric.label, metric.unit, better, metric.group
