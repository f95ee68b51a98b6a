from __future__ import annotations

from lossbench.records import Metric


def test_a_metric_has_another_name_on_the_held_out_part() -> None:
    metric = Metric(name="error", label="error")
    assert metric.json_name(held_out=False) == "error"
    assert metric.json_name(held_out=True) == "holdout_error"


def test_a_metric_has_no_unit_by_default() -> None:
    assert Metric(name="latency", label="latency").unit == ""
