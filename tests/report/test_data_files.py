"""Numbers of a report for other programs: JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable

import pytest

from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report import render
from tests.analysis.made_up_tables import NAN, TWO, errors


def test_json_contract(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(TWO)
    text = render(
        PlanWithResults(plan, fill(plan, errors([1 / 3, NAN, 0.1], [3, None, None], [NAN] * 3))),
        "json",
    )
    objects = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    keys = [
        "suite",
        "variant",
        "loss",
        "params",
        "metric",
        "values",
        "mean",
        "std",
        "n",
        "diverged",
    ]
    assert all(list(o) == keys for o in objects)
    assert len(text.splitlines()) == len(objects) + 2
    first, second, third = objects
    assert first["values"] == [1 / 3, 0.1]
    assert first["mean"] == pytest.approx((1 / 3 + 0.1) / 2, rel=1e-15)
    assert (first["n"], first["diverged"], first["params"]) == (2, 1, {})
    assert (second["loss"], second["n"], second["mean"], second["std"]) == ("lgm", 1, 3.0, None)
    assert second["params"] == {"alpha": 0.0, "lambda": 0.1, "covariance": "identity"}
    assert (third["values"], third["n"], third["mean"], third["diverged"]) == ([], 0, None, 3)


def test_values_are_in_the_suites_seed_order(
    make_plan: Callable[..., Plan], fill: Callable
) -> None:
    plan = make_plan("seeds: [7, 2]\nlosses: [softmax]\n")
    results = fill(plan, {"default/softmax": [5.0, 4.0]})
    backwards = dict(reversed(results.items()))
    assert json.loads(render(PlanWithResults(plan, backwards), "json"))[0]["values"] == [5.0, 4.0]


def test_csv_is_tidy(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan(TWO)
    text = render(
        PlanWithResults(plan, fill(plan, errors([1, 2, 3], [3, None, None], [NAN] * 3))), "csv"
    )
    first, second, third = csv.DictReader(io.StringIO(text))
    assert (float(first["mean"]), float(first["std"]), first["n"]) == (2, 1, "3")
    assert float(first["ci_low"]) == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-5)
    assert json.loads(first["values"]) == [1, 2, 3]
    assert json.loads(second["params"])["alpha"] == 0
    assert (second["mean"], second["std"], second["ci_high"]) == ("3.0", "", "")
    assert (third["mean"], third["diverged"], third["n"]) == ("", "3", "0")


def test_a_label_is_in_json_and_csv(make_plan: Callable[..., Plan], fill: Callable) -> None:
    plan = make_plan("seeds: [0]\nlosses: [softmax, {lgm: {label: ours, alpha: {grid: [1, 2]}}}]\n")
    rows = {f"default/{row.label}": [1.0] for row in plan.rows}
    found = PlanWithResults(plan, fill(plan, rows))
    objects = json.loads(render(found, "json"))
    assert [o.get("label") for o in objects] == [None, "ours", "ours"]
    assert [o["loss"] for o in objects] == ["softmax", "lgm", "lgm"]
    lines = list(csv.DictReader(io.StringIO(render(found, "csv"))))
    assert [line["row"] for line in lines] == ["softmax", "ours(alpha=1)", "ours(alpha=2)"]
