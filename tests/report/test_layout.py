"""Reports of many metrics: a headline, and the others by kind, in every format."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lossbench.analysis.tables import make_tables
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.records import Metric
from lossbench.report.build import build_report
from lossbench.report.formats import markdown
from lossbench.report.layout import make_layout
from lossbench.report.metric_groups import FOLDED_FROM, group_tables, group_title, in_group_order
from lossbench.report.metric_tables import CLASSIC_TITLE
from tests.report.synthetic_report import Results, in_terminal, result_of

MANY = (
    *(
        Metric(name=f"noise_{k}", label=f"noise {k}", unit="%", group="robustness")
        for k in "123456"
    ),
    Metric(name="nll", label="NLL", unit="nats", group="calibration"),
    Metric(name="mine", label="mine", group="my_kind"),
    Metric(name="error", label="error", unit="% of images", group="accuracy"),
    Metric(name="worst", label="worst class", unit="% of the class", group="accuracy"),
)
FEW = (MANY[0], MANY[6], MANY[8])
BODY = "seeds: [0, 1]\nreference: softmax\nlosses: [softmax, center, lgm]\n"
LEVELS = {"softmax": 3.0, "center": 2.0, "lgm": 1.0}


def results_of(plan: Plan) -> Results:
    return {
        trial.identity: result_of(
            trial,
            3.0,
            metrics={
                metric.name: 10 * place + LEVELS[trial.row] + 0.1 * trial.seed
                for place, metric in enumerate(plan.metrics)
            },
        )
        for trial in plan.trials
    }


@pytest.fixture
def plan(make_plan: Callable[..., Plan]) -> Plan:
    return replace(make_plan(BODY), metrics=MANY)


def test_groups_follow_the_order_of_kinds(plan: Plan) -> None:
    grouped = group_tables(make_tables(PlanWithResults(plan, results_of(plan))))
    assert grouped.folded
    assert [table.metric for table in grouped.headline] == ["error", "worst"]
    assert [(g.title, len(g.tables)) for g in grouped.groups] == [
        ("Calibration", 1),
        ("Robustness", 6),
        ("My kind", 1),
    ]
    assert sorted(table.metric for table in grouped.tables) == sorted(m.name for m in MANY)
    assert in_group_order(["", "x", "retrieval", "accuracy"], str) == [
        "accuracy",
        "retrieval",
        "x",
        "",
    ]
    assert group_title("") == "Other metrics"


def test_without_accuracy_the_first_metric_is_the_headline(plan: Plan) -> None:
    plan = replace(plan, metrics=MANY[:8])
    grouped = group_tables(make_tables(PlanWithResults(plan, results_of(plan))))
    assert [table.metric for table in grouped.headline] == ["noise_1"]
    assert [len(group.tables) for group in grouped.groups] == [1, 5, 1]


def test_few_metrics_of_one_kind_stay_together(plan: Plan) -> None:
    plan = replace(plan, metrics=MANY[: FOLDED_FROM - 2])
    grouped = group_tables(make_tables(PlanWithResults(plan, results_of(plan))))
    assert (len(grouped.headline), grouped.groups, grouped.folded) == (5, (), False)


def test_every_metric_is_in_exactly_one_place(plan: Plan) -> None:
    layout = make_layout(make_tables(PlanWithResults(plan, results_of(plan))))
    titles = [t.title for t in (*layout.headline, *(d for s in layout.sections for d in s.details))]
    for metric in MANY:
        assert sum(title.startswith(f"Test {metric.label}") for title in titles) == 1
    assert [section.title for section in layout.sections] == [
        "Accuracy: further metrics",
        "Calibration",
        "Robustness",
        "My kind",
    ]
    [overview] = layout.overviews
    assert overview.title == "Accuracy on test images; mean ± std over 2 seeds"
    assert [line[0].text for line in overview.rows] == ["error, %", "worst class, %"]
    assert [cell.text for cell in overview.rows[0][1:]] == [
        "83.05 ± 0.07",
        "82.05 ± 0.07",
        "81.05 ± 0.07",
    ]
    [robust] = layout.sections[2].overviews
    assert len(robust.rows) == 6


def test_variants_have_an_overview_each(make_plan: Callable[..., Plan]) -> None:
    body = (
        f"variants: {{A: {{model: {{feature_dim: 2}}}}, B: {{model: {{feature_dim: 8}}}}}}\n{BODY}"
    )
    plan = replace(make_plan(body), metrics=MANY)
    layout = make_layout(make_tables(PlanWithResults(plan, results_of(plan))))
    assert [table.title.partition(";")[0] for table in layout.overviews] == [
        "Accuracy on test images, A",
        "Accuracy on test images, B",
    ]
    text = in_terminal(plan, results_of(plan))
    assert "Test error, % of test images" in text
    assert "  Accuracy: worst\n" in text


def test_the_page_folds_all_but_the_headline(plan: Plan, tmp_path: Path) -> None:
    found = PlanWithResults(plan, results_of(plan))
    build_report(found, lambda *_: None, tmp_path, "lossbench run suite.yaml")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    shown, *folded = page.split('<details class="group"')
    assert len(folded) == 4
    assert "<h3>Test error, % of test images; mean" in shown
    assert "Test NLL" not in shown
    assert all(part.startswith(">") for part in folded)
    summaries = re.findall(r"<summary><strong>(.*?)</strong> <span class=\"quiet\">(.*?)</", page)
    assert summaries == [
        ("Accuracy: further metrics", "1 metric"),
        ("Calibration", "1 metric"),
        ("Robustness", "6 metrics"),
        ("My kind", "1 metric"),
    ]
    assert "<li>no loss is shown to beat softmax: lgm and center are undecided" in shown
    assert 'id="ranks"' in page


def test_few_kinds_of_metrics_have_open_sections(plan: Plan, tmp_path: Path) -> None:
    few = replace(plan, metrics=FEW)
    found = PlanWithResults(few, results_of(few))
    build_report(found, lambda *_: None, tmp_path, "lossbench run suite.yaml")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('<details class="group" open>') == 2
    assert "All measurements; mean" in page
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<summary>Tables of " not in text
    assert text.count("<details>") == text.count(CLASSIC_TITLE) == len(FEW)


def test_markdown_has_headings_and_folds_single_metrics(plan: Plan) -> None:
    text = markdown(make_tables(PlanWithResults(plan, results_of(plan))))
    assert re.findall("^## (.*)$", text, re.MULTILINE) == [
        "Accuracy: further metrics",
        "Calibration",
        "Robustness",
        "My kind",
    ]
    assert text.count("<details><summary>Tables of ") == 4
    assert text.count("<details>") == text.count("\n</details>\n") == 4 + len(MANY)
    assert "| noise 6, % | 53.05 ± 0.07 | 52.05 ± 0.07 | 51.05 ± 0.07 |" in text
    head = text.partition("## ")[0]
    assert "Test error" in head
    assert "NLL" not in head


def test_the_terminal_names_the_other_metrics(plan: Plan) -> None:
    text = in_terminal(plan, results_of(plan))
    assert "Accuracy on test images" in text
    assert "81.05 ± 0.07" in text
    assert "Test error only; the verdicts on other metrics are in the report." in text
    _, _, others = text.partition("Other metrics, whose tables are in the report:\n")
    assert [line.strip() for line in others.splitlines()] == [
        "Calibration: nll",
        "Robustness: noise_1, noise_2, noise_3 and 3 more",
        "My kind: mine",
    ]
    assert "noise 1" not in text


def test_the_held_out_part_comes_first(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(
        "selection: {holdout: 0.2}\nseeds: [0, 1]\n"
        "losses: [softmax, {lgm: {alpha: {grid: [0.1, 0.3]}}}]\n"
    )
    plan = replace(plan, metrics=(MANY[8], *MANY[:8]))
    results: Results = {}
    for _ in range(2):  # the final trials follow from the results of the held-out part
        results |= {
            trial.identity: result_of(
                trial, 3.0, metrics={m.name: 3.0 + 0.1 * trial.seed for m in plan.metrics}
            )
            for trial in PlanWithResults(plan, results).trials
        }
    found = PlanWithResults(plan, results)
    layout = make_layout(make_tables(found))
    titles = [table.title for table in layout.headline]
    assert titles[0].startswith("Held-out error")
    assert titles[1].startswith("Test error")
    assert layout.sections[0].title == "Calibration"
    text = in_terminal(plan, results)
    assert (
        text.index("Held-out error")
        < text.index("Test error, %", 20)
        < text.index("Calibration: nll")
    )
