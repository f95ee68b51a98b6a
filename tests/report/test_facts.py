"""The report lists what differs between the rows besides the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lossbench.planning.head_requirements import HeadRequirements, head_key
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.report.facts import gather_facts
from lossbench.report.html import render_html
from tests.report.synthetic_report import Results, result_of


def page(plan: Plan, results: Results) -> str:
    facts = gather_facts(PlanWithResults(plan, results), "lossbench report")
    html = render_html(plan, [], None, [], [], "", facts, {})
    return " ".join(html.partition('<section id="fairness">')[2].partition("</section>")[0].split())


def test_the_page_lists_differences(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan("losses: [softmax, center]\n")
    center = HeadRequirements(parameters=30, self_updated=("centers",))
    key = head_key("default", plan.rows[1].loss)
    plan = replace(plan, head_requirements={key: center})
    results = {t.identity: result_of(t, 1.0) for t in plan.trials}
    odd = next(trial for trial in plan.trials if trial.row == "center")
    results[odd.identity] = result_of(odd, 1.0, device="<GPU>")
    shown = page(plan, results)
    assert "<li><strong>fails</strong> device is cpu for softmax; &lt;GPU&gt; for center" in shown
    assert "<li>center: centers updated by the loss after each step" in shown
    assert "<p>Only the loss differs between the rows, except for:</p>" in shown


def test_a_table_without_differences_says_so(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan("losses: [softmax]\n")
    assert "<p>Only the loss differs between the rows.</p>" in page(plan, {})
