"""How values of any metric are written, from the format specification to the whole report."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from lossbench.analysis.numbers import difference_unit, format_spec, with_unit
from lossbench.analysis.tables import make_tables
from lossbench.errors import RequestError
from lossbench.gate import service as gate
from lossbench.planning.plan import Plan
from lossbench.records import Metric
from lossbench.report.build import build_report
from lossbench.report.formats import render, terminal_table
from tests.report.synthetic_report import Results, result_of

BODY = """
variants: {A: {model: {feature_dim: 2}}, B: {model: {feature_dim: 8}}}
reference: softmax
losses: [softmax, center, {lgm: {alpha: {grid: [0.1, 0.3]}}}]
"""


@pytest.mark.parametrize(
    ("unit", "values", "written"),
    [
        ("% of images", [4.567, 90.0], "4.57"),
        ("%", [0.001], "0.00"),
        ("", [0.12345, 0.9], "0.1235"),
        ("s", [447.8, 12.0], "447.80"),
        ("nats", [-3.21987, 1.0], "-3.220"),
        ("", [0.00123456], "0.001235"),
        ("", [1.23456e-9, 2e-10], "1.235e-09"),
        ("", [1.23456e12], "1.235e+12"),
        ("", [0.0], "0.00"),
        ("", [0.5, float("nan"), float("inf")], "0.5000"),
    ],
)
def test_values_are_written_with_the_digits_they_need(
    unit: str, values: list[float], written: str
) -> None:
    assert format(values[0], format_spec(unit, values)) == written


def test_differences_have_the_metrics_unit() -> None:
    assert with_unit("0.5", difference_unit("% of pairs")) == "0.5 percentage points"
    assert with_unit("0.5", difference_unit("s")) == "0.5 s"
    assert with_unit("0.5", difference_unit("")) == "0.5"


def test_a_metric_has_no_unit_unless_it_says_one() -> None:
    assert Metric(name="latency", label="latency").unit == ""


def with_metric(
    plan: Plan, unit: str, scale: float, *, higher: bool = False
) -> tuple[Plan, Results]:
    """A plan of one metric of the user's own, and its results."""
    metric = Metric(name="mine", label="my metric", unit=unit, higher_is_better=higher)
    rng = np.random.default_rng(0)
    levels = {row.label: i for i, row in enumerate(plan.rows)}
    results = {
        trial.identity: result_of(
            trial,
            5.0,
            metrics={"mine": scale * (1 + levels[trial.row] + 0.05 * float(rng.normal()))},
        )
        for trial in plan.trials
    }
    return replace(plan, metrics=(metric,)), results


def everything(plan: Plan, results: Results, folder: Path) -> dict[str, str]:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(terminal_table(plan, results))
    written = build_report(plan, results, lambda *_: None, folder, "lossbench run suite.yaml")
    texts = {
        path.name: path.read_text(encoding="utf-8") for path in written if path.suffix != ".png"
    }
    return {
        **{form: render(plan, results, form) for form in ("markdown", "latex")},
        "terminal": console.export_text(),
        **texts,
    }


@pytest.mark.parametrize(
    ("unit", "scale", "shown"),
    [
        ("", 1.0, "4.0"),
        ("s", 447.8, "1800.07"),
        ("nats", -2.0, "−8.0"),
        ("images per second", 1e-9, "e"),
        ("", 1e12, "e+12"),
    ],
)
@pytest.mark.parametrize("higher", [False, True])
def test_a_metric_of_ones_own_in_every_form(
    make_plan: Callable[..., Plan],
    tmp_path: Path,
    unit: str,
    scale: float,
    shown: str,
    higher: bool,
) -> None:
    plan, results = with_metric(make_plan(BODY), unit, scale, higher=higher)
    [table] = make_tables(plan, results)
    assert table.verdicts is not None
    assert {v.outcome for v in table.verdicts.listed} == {
        "better" if (scale > 0) == higher else "worse"
    }
    for name, text in everything(plan, results, tmp_path).items():
        if name.endswith((".md", ".tex", ".html")) or "." not in name:
            assert "percentage point" not in text, name
            assert "% of test" not in text.replace("Error, % of test", ""), name
            assert shown in text.replace("$-$", "−"), name
            assert not unit or unit in text, name
    ranks = {rank.row: rank.mean for rank in table.ranks.listed} if table.ranks else {}
    assert sorted(ranks.values()) == [1, 2, 3, 4]


def test_a_value_that_is_not_finite_is_none(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan, results = with_metric(make_plan(BODY), "s", 1.0)
    first = plan.trials[0]
    lost = {"mine": float("nan")}
    results[first.identity] = results[first.identity].model_copy(update={"metrics": lost})
    [table] = make_tables(plan, results)
    summary = table.cells[first.variant, first.row].summary
    assert (summary.n, summary.diverged) == (2, 1)
    assert f"{first.variant}: {first.row} has no finite my metric with seed 0" in table.notes
    everything(plan, results, tmp_path)


def test_a_gate_has_no_default_for_other_units(
    make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan, results = with_metric(make_plan(BODY), "s", 1e-9)
    request = gate.Request(plan, tmp_path / "baseline.json", None, "lossbench run suite.yaml")
    measured = request.measure(results)
    with pytest.raises(RequestError, match=r"--min-effect mine=NUMBER: .*\(in s\)"):
        request.update(None, measured, [], accept=False)
    assert not request.path.exists()
    request.update(None, measured, ["mine=1e-10"], accept=False)
    baseline = request.read()
    assert baseline is not None
    worse = {
        identity: result.model_copy(update={"metrics": {"mine": 3 * result.metrics["mine"]}})
        for identity, result in results.items()
    }
    text, code = request.check(baseline, request.measure(worse), "text")
    assert code == 1
    assert re.search(r"worse by \d\.\d{3}e-09 s; noise allows \d\.\d{3}e-\d\d s", text.plain)
    assert request.check(baseline, measured, "text")[1] == 0
