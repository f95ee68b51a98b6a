"""Metrics that are measured in some columns only: tables, ranks, LaTeX, baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lossbench.analysis.metric_ranks import metric_ranks
from lossbench.analysis.tables import make_tables
from lossbench.errors import RequestError
from lossbench.gate.comparability import require_comparable
from lossbench.gate.from_results import baseline_from_results
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.planning.trial import PlannedEvaluation
from lossbench.records import Metric
from lossbench.report import render
from lossbench.report.combined_table import combine_metrics, overview_tables
from tests.report.latex_check import require_sound
from tests.report.synthetic_report import result_of

BODY = """\
variants: {a: {}, b: {model: {feature_dim: 3}}, c: {model: {feature_dim: 4}}}
seeds: [0, 1]
reference: softmax
losses: [softmax, center, lgm]
"""
COLUMNS = {"a": ["m4"], "b": ["m0", "m1", "m2"], "c": ["m0", "m3"]}
"""Column -> its metrics; the first column has none of the others'."""


def measured_in(plan: Plan, columns: Mapping[str, Sequence[str]]) -> PlanWithResults:
    """The plan with these metrics, and finished trials."""
    names = sorted({name for own in columns.values() for name in own})
    plan = replace(
        plan,
        metrics=tuple(Metric(name=name, label=name, unit="%") for name in names),
        columns={
            variant: replace(
                plan.columns[variant],
                evaluations=(PlannedEvaluation(name="all", metrics=tuple(own)),),
            )
            for variant, own in columns.items()
        },
    )
    results = {
        t.identity: result_of(
            t,
            1.0,
            metrics={
                name: 10.0 + t.seed + ["softmax", "center", "lgm"].index(t.row)
                for name in columns[t.variant]
            },
        )
        for t in plan.trials
    }
    return PlanWithResults(plan, results)


@pytest.fixture
def found(make_plan: Callable[..., Plan]) -> PlanWithResults:
    return measured_in(make_plan(BODY), COLUMNS)


def test_an_overview_has_the_metrics_of_its_column(found: PlanWithResults) -> None:
    overviews = overview_tables(make_tables(found), "Accuracy")
    lines = [[line[0].text for line in table.rows] for table in overviews]
    assert lines == [["m0, %", "m1, %", "m2, %"], ["m0, %", "m3, %"]]
    assert ", b; " in overviews[0].title
    assert ", c; " in overviews[1].title
    assert all(cell.text != "–" for table in overviews for line in table.rows for cell in line)


def test_columns_of_one_metric_each_are_not_combined(make_plan: Callable[..., Plan]) -> None:
    columns = {"a": ["m0"], "b": ["m1"], "c": ["m1"]}
    assert combine_metrics(make_tables(measured_in(make_plan(BODY), columns))) is None
    columns = {"a": ["m0"], "b": ["m1"], "c": ["m2"]}
    assert combine_metrics(make_tables(measured_in(make_plan(BODY), columns))) is None


def test_ranks_are_of_the_metrics_of_the_column(found: PlanWithResults) -> None:
    tables = make_tables(found)
    assert [ranks.table.metric for ranks in metric_ranks(tables, "b")] == ["m0", "m1", "m2"]
    assert metric_ranks(tables, "c") == []  # two metrics only


def test_the_joint_latex_table_has_the_measured_metrics(found: PlanWithResults) -> None:
    text = render(found, "latex")
    require_sound(text)
    whole = text[text.index(r"\label{tab:synthetic}") :]
    assert r" & a & \multicolumn{3}{c}{b} & \multicolumn{2}{c}{c} \\" in whole.replace(
        r"\multicolumn{1}{c}{a}", "a"
    )
    assert r"\begin{tabular}{lrrrrrr}" in whole
    assert " -- " not in whole


def test_a_baseline_has_no_cells_of_metrics_that_a_column_lacks(found: PlanWithResults) -> None:
    baseline = baseline_from_results(found, "")
    cells = {(cell.variant, cell.metric) for cell in baseline.cells}
    assert cells == {(variant, name) for variant, own in COLUMNS.items() for name in own}
    assert not any(cell.diverged for cell in baseline.cells)
    path = Path("baseline.json")
    require_comparable(baseline, found.plan, None, path)
    fewer = measured_in(found.plan, {**COLUMNS, "b": ["m0", "m1"]})
    with pytest.raises(RequestError, match=r"the suite has no b/softmax \(m2\)"):
        require_comparable(baseline, fewer.plan, None, path)
