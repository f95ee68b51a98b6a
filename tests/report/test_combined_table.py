"""All metrics in one table, and what is bold in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.records import Metric
from lossbench.report.combined_table import combine_metrics
from lossbench.report.formats import markdown
from tests.report.many_metrics import ARTIFACT, BODY, METRICS, results_of
from tests.report.synthetic_report import result_of


@pytest.fixture
def plan(make_plan: Callable[..., Plan]) -> Plan:
    return replace(make_plan(BODY), metrics=METRICS, artifacts=(ARTIFACT,))


def test_a_suite_of_one_variant_has_one_table_of_all_metrics(plan: Plan) -> None:
    tables = make_tables(PlanWithResults(plan, results_of(plan)))
    combined = combine_metrics(tables)
    assert combined is not None
    headings = [column.heading for column in combined.columns]
    assert headings == ["metric", "softmax", "lgm(alpha=0)", "lgm(alpha=1)"]
    assert [line[0].text for line in combined.rows] == [
        "Test error, % of test images",
        "Test error under FGSM, ε = 0.3, % of test images",
        "Test equal error rate, FGSM, ε = 0.3, %",
        "Test AUROC, FGSM, %",
    ]
    best = [[cell.emphasis for cell in line[1:]] for line in combined.rows]
    assert best == [["", "", "best"]] * 4  # of the AUROC the highest
    published = [cell.detail for cell in combined.rows[1][1:]]
    assert published == ["published 84.87, better", "", "published 81.62, better"]
    text = markdown(tables)
    assert "| Test AUROC, FGSM, % | 70.05 ± 0.07 | 80.05 ± 0.07 | **90.05 ± 0.07** |" in text
    assert "(published 84.87, better)" in text


def test_one_metric_or_several_variants_are_not_combined(make_plan: Callable[..., Plan]) -> None:
    one = make_plan(BODY.replace("published", "# published"))
    assert combine_metrics(make_tables(PlanWithResults(one, {}))) is None
    two = "variants: {a: {}, b: {model: {feature_dim: 3}}}"
    several = replace(make_plan(f"{two}\n{BODY}"), metrics=METRICS)
    assert combine_metrics(make_tables(PlanWithResults(several, {}))) is None


@pytest.mark.parametrize(
    ("softmax", "lgm", "bold"),
    [
        ([99.90, 100.0, 100.0], [100.0, 100.0, 100.0], False),  # 99.97 ± 0.06
        ([90.0, 91.0], [98.0, 99.0], False),  # of two seeds the interval is 13 wide
        ([90.0, 90.1], [99.8, 99.9], True),
        ([90.0, 90.1, 90.2], [90.8, 90.9, 91.0], True),
        ([90.0], [99.0], False),
        ([99.0, 99.1], [99.0, 99.1], False),
    ],
)
def test_bold_in_the_combined_table_is_beyond_the_noise(
    make_plan: Callable[..., Plan], softmax: list[float], lgm: list[float], bold: bool
) -> None:
    plan = make_plan(f"seeds: {list(range(len(lgm)))}\nlosses: [softmax, lgm]\n")
    auroc = Metric(name="auroc", label="AUROC", higher_is_better=True)
    plan = replace(plan, metrics=(Metric(name="error", label="error", unit="% of images"), auroc))
    values = {"softmax": softmax, "lgm": lgm}
    results = {
        t.identity: result_of(t, 1.0, metrics={"error": 1.0, "auroc": values[t.row][t.seed]})
        for t in plan.trials
    }
    combined = combine_metrics(make_tables(PlanWithResults(plan, results)))
    assert combined is not None
    _, (_, *cells) = combined.rows
    assert [cell.emphasis == "best" for cell in cells] == [False, bold]
