"""Metrics of the user's own, with any unit and scale, in every output of a report."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from lossbench.analysis.ranking import rank_suites
from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report import render, terminal_table
from lossbench.report.build import build_report
from lossbench.report.ranking_report import ranking_markdown
from lossbench.report.remarks import make_remarks
from tests.report.synthetic_report import Results, with_own_metric

BODY = """
variants: {A: {model: {feature_dim: 2}}, B: {model: {feature_dim: 8}}}
reference: softmax
losses: [softmax, center, {lgm: {alpha: {grid: [0.1, 0.3]}}}]
"""


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
def test_an_own_metric_in_every_format(
    make_plan: Callable[..., Plan],
    tmp_path: Path,
    unit: str,
    scale: float,
    shown: str,
    higher: bool,
) -> None:
    plan, results = with_own_metric(make_plan(BODY), unit, scale, higher=higher)
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


@pytest.mark.parametrize("scale", [40.0, -2.0])
def test_shares_of_images_outside_0_to_100_have_no_resolution(
    make_plan: Callable[..., Plan], tmp_path: Path, scale: float
) -> None:
    plan, results = with_own_metric(make_plan(BODY), "% of images", scale, higher=False)
    [table] = make_tables(PlanWithResults(plan, results))
    assert table.verdicts is not None
    assert {verdict.margin for verdict in table.verdicts.listed} == {None}
    for name, text in everything(plan, results, tmp_path).items():
        if name.endswith((".md", ".html")):
            assert "percentage points" in text
            assert "the resolution of the" not in text


MINUS_ZERO = re.compile(r"[-−]0(?:\.0+)?(?![\d.])(?!e)")


def test_no_output_has_a_negative_zero(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    """Means and differences of a few thousandths of a percent, from below zero."""
    plan, results = with_own_metric(make_plan(BODY), "%", -0.0005)
    texts = everything(plan, results, tmp_path)
    texts["rank"] = ranking_markdown(
        rank_suites([PlanWithResults(plan, results)]), "lossbench rank"
    )
    for name, text in texts.items():
        if name.endswith((".md", ".tex", ".html")) or "." not in name:
            shown = re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)  # coordinates
            assert "0.00" in shown, name
            assert not MINUS_ZERO.findall(shown), name


def test_a_value_that_is_not_finite_is_none(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan, results = with_own_metric(make_plan(BODY), "s", 1.0)
    first = plan.trials[0]
    lost = {"mine": float("nan")}
    results[first.identity] = results[first.identity].model_copy(update={"metrics": lost})
    [table] = make_tables(PlanWithResults(plan, results))
    summary = table.cells[first.variant, first.row].summary
    assert (summary.n, summary.diverged) == (2, 1)
    [remarks] = make_remarks([table])
    assert f"{first.variant}: {first.row} has no finite my metric with seed 0" in remarks.warnings
    everything(plan, results, tmp_path)
