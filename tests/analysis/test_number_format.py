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

from lossbench.analysis.number_format import (
    difference_unit,
    format_mean_std,
    format_number,
    format_signed,
    format_signed_interval,
    format_spec,
    with_unit,
)
from lossbench.analysis.ranking import rank_suites
from lossbench.analysis.statistics import Interval
from lossbench.analysis.tables import make_tables
from lossbench.errors import RequestError
from lossbench.gate import service as gate
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.records import Metric
from lossbench.report import render, terminal_table
from lossbench.report.build import build_report
from lossbench.report.ranking_report import ranking_markdown
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


@pytest.mark.parametrize(
    ("value", "spec", "number", "signed"),
    [
        (0.126, ".2f", "0.13", "+0.13"),
        (-0.126, ".2f", "−0.13", "−0.13"),
        (-0.004, ".2f", "0.00", "0.00"),
        (0.004, ".2f", "0.00", "0.00"),
        (-0.0, ".3e", "0.000e+00", "0.000e+00"),
        (-1.25e-9, ".2e", "−1.25e-09", "−1.25e-09"),
        (float("-inf"), ".2f", "−inf", "−inf"),
        (None, ".2f", "–", "–"),
    ],
)
def test_numbers_that_round_to_zero_have_no_sign(
    value: float | None, spec: str, number: str, signed: str
) -> None:
    assert format_number(value, spec) == number
    assert format_signed(value, spec) == signed


def test_intervals_and_standard_deviations_that_do_not_exist_are_left_out() -> None:
    assert format_signed_interval(Interval(-0.001, 0.2)) == "0.00 to +0.20"
    assert format_signed_interval(None) == "–"
    assert format_mean_std(-0.001, 0.25) == "0.00 ± 0.25"
    assert format_mean_std(1.5, None) == "1.50"
    assert format_mean_std(None, None) == "–"


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
    console.print(terminal_table(PlanWithResults(plan, results)))
    written = build_report(
        PlanWithResults(plan, results), lambda *_: None, folder, "lossbench run suite.yaml"
    )
    texts = {
        path.name: path.read_text(encoding="utf-8") for path in written if path.suffix != ".png"
    }
    return {
        **{form: render(PlanWithResults(plan, results), form) for form in ("markdown", "latex")},
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
    [table] = make_tables(PlanWithResults(plan, results))
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


MINUS_ZERO = re.compile(r"[-−]0(?:\.0+)?(?![\d.])(?!e)")


def test_no_output_has_a_negative_zero(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    """Means and differences of a few thousandths of a percent, from below zero."""
    plan, results = with_metric(make_plan(BODY), "%", -0.0005)
    texts = everything(plan, results, tmp_path / "report")
    request = gate.Request(plan, tmp_path / "baseline.json", None, "lossbench run suite.yaml")
    request.update(None, request.measure(results), [], accept=False)
    baseline = request.read()
    assert baseline is not None
    slightly_better = {
        identity: result.model_copy(update={"metrics": {"mine": result.metrics["mine"] - 1e-4}})
        for identity, result in results.items()
    }
    measured = request.measure(slightly_better)
    for form in ("text", "junit", "github"):
        texts[f"check {form}"] = request.check(baseline, measured, form)[0].plain
    ranking = rank_suites([PlanWithResults(plan, results)])
    texts["rank"] = ranking_markdown(ranking, "lossbench rank")
    assert "0.00 ± 0.00" in texts["check text"]
    for name, text in texts.items():
        if name.endswith((".md", ".tex", ".html")) or "." not in name:
            shown = re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)  # coordinates
            assert not MINUS_ZERO.findall(shown), name


def test_a_value_that_is_not_finite_is_none(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan, results = with_metric(make_plan(BODY), "s", 1.0)
    first = plan.trials[0]
    lost = {"mine": float("nan")}
    results[first.identity] = results[first.identity].model_copy(update={"metrics": lost})
    [table] = make_tables(PlanWithResults(plan, results))
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
