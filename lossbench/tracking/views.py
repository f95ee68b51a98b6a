"""Prepared views of MLflow's page: the trials of a table, grouped by cell.

MLflow opens a view that is stored as a tag of the experiment if its key is in the address, as for
views that users share. A version that does not know a key of a view ignores it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from urllib.parse import quote

from lossbench.records import TableSummary
from lossbench.tracking import names

CHARTS = "workflowType=machine_learning&compareRunsMode=CHART"
"""Query of an address that opens the chart view."""
_TAG = "mlflow.sharedViewState."
_MAX_BYTES = 5000
"""Limit of a tag of an experiment in earlier versions of MLflow."""
_SHOWN_METRICS = 4
_CURVES = ("train_loss", "test_error")
"""Metrics of every epoch, drawn as curves; MLflow hides charts without values."""


def view_tag(label: str) -> str:
    """Key of the experiment's tag with the view of a table."""
    return _TAG + _view_key(label)


def view_query(label: str) -> str:
    """Query of the address that opens the view of a table as charts."""
    return f"viewStateShareKey={quote(_view_key(label))}&{CHARTS}"


def _view_key(label: str) -> str:
    return names.clean_key(label).replace(" ", "_")


def table_view(label: str, summary: TableSummary, cells: Iterable[str]) -> str:
    """State of MLflow's page that shows the trials of a table, grouped by cell, as JSON.

    Args:
        label: Label of the table.
        summary: Summary of the table, whose first metric sorts the cells.
        cells: Values of the tag `names.CELL`; their groups are folded.
    """
    shown = summary.metrics[:_SHOWN_METRICS]
    first = [f"metrics.`{names.clean_key(metric)}`" for metric in shown]
    view = {
        "searchFilter": names.table_filter(label),
        "orderByKey": first[0] if first else "attributes.start_time",
        "orderByAsc": summary.ascending,
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": names.CELL}],
        },
        "useGroupedValuesInCharts": True,
        "runsHiddenMode": "FIRST_20_RUNS",
        "selectedColumns": [*first, f"tags.`{names.STATUS}`"],
        **_charts(shown[:1]),
    }
    folded = {"groupsExpanded": {f"tag.{names.CELL}.{cell}": False for cell in cells}}
    text = json.dumps({**view, **folded}, ensure_ascii=False)
    return text if len(text.encode()) <= _MAX_BYTES else json.dumps(view, ensure_ascii=False)


def _charts(metrics: Iterable[str]) -> dict[str, list[dict[str, object]]]:
    """Charts before those that MLflow makes of all other metrics."""
    section = {"display": True, "isReordered": False, "deleted": False}
    place = {"metricSectionId": "means", "deleted": False, "isGenerated": False}
    bars = [
        {"uuid": f"bar-{key}", "type": "BAR", "metricKey": key, "displayName": key, **place}
        for key in map(names.clean_key, metrics)
    ]
    lines = [
        {"uuid": f"line-{key}", "type": "LINE", "metricKey": key, **_LINE, **place}
        for key in _CURVES
    ]
    return {
        "compareRunCharts": [*bars, *lines],
        "compareRunSections": [
            {"uuid": "means", "name": "Means over seeds", "isGenerated": False, **section},
            {"uuid": "others", "name": "Model metrics", "isGenerated": True, **section},
        ],
    }


_LINE: dict[str, object] = {
    "xAxisKey": "step",
    "xAxisScaleType": "linear",
    "scaleType": "linear",
    "selectedXAxisMetricKey": "",
    "yAxisKey": "metric",
    "yAxisExpressions": [],
    "range": {},
    "lineSmoothness": 0,
    "ignoreOutliers": False,
    "useGlobalXaxisKey": True,
    "useGlobalLineSmoothing": True,
}
