"""Dry run of heads, also of the points that a search proposes after its first round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.errors import ParameterError, Problem
from lossbench.planning.fairness import audit
from lossbench.planning.head_requirements import HeadRequirements, head_key
from lossbench.planning.plan import Plan
from lossbench.planning.search import ROUND
from lossbench.planning.selection import load_plan_with_results
from lossbench.planning.trial import Trial
from lossbench.suite.load import load_suite
from lossbench.suite.schema import Component
from tests.synthetic_plans import SyntheticStore

SUITE = """\
suite: searching
dataset: digits
model: {name: digits_cnn, feature_dim: 2}
recipe: {epochs: 1, batch_size: 64, optimizer: {name: sgd, lr: 0.03}}
variants: {2-D: {}, 3-D: {model: {feature_dim: 3}}}
seeds: [0]
losses:
  - softmax
  - center: {weight: {search: {low: 0.001, high: 1, log: true}}}
selection: {samples: 20}
"""


@pytest.fixture
def plan(write_suite: Callable[..., Path], tmp_path: Path) -> Plan:
    return check(load_suite(write_suite(text=SUITE)), tmp_path)


def cells(plan: Plan) -> set[tuple[str, str]]:
    return {
        head_key(variant, row.loss)
        for variant in plan.suite.variants
        for row in plan.rows
        if row.applies_to(variant)
    }


def run_search(plan: Plan) -> Plan:
    """The plan after all rounds of its searches; the two columns prefer different weights."""
    best = {"2-D": 0.01, "3-D": 0.3}

    def error(trial: Trial) -> float:
        return float(abs(trial.loss.params.get("weight", 1) - best[trial.variant]))

    return load_plan_with_results(plan, SyntheticStore(error)).plan


def test_all_points_of_all_rounds_are_audited(plan: Plan) -> None:
    assert plan.head_requirements.keys() == cells(plan)
    whole = run_search(plan)
    assert len(whole.rows) > 1 + 2 * ROUND
    assert whole.head_requirements.keys() == cells(whole)
    assert not whole.unusable_heads
    texts = [d.text for d in audit(whole, whole.trials, {}) if "updated" in d.text]
    assert texts == ["center: centers updated by the loss after each step, not by the optimizer"]


def test_two_losses_with_the_same_label_have_separate_requirements(plan: Plan) -> None:
    assert plan.dry_run_head is not None
    small, large = (
        plan.dry_run_head(variant, Component(name="softmax")) for variant in plan.suite.variants
    )
    assert (small.parameters, large.parameters) == (2 * 10 + 10, 3 * 10 + 10)


def test_a_later_point_that_cannot_be_trained_fails_the_audit(plan: Plan) -> None:
    first = [row.loss for row in plan.rows]

    def refuse(variant: str, loss: Component) -> HeadRequirements:
        assert loss not in first  # the heads of the first round are known
        raise ParameterError(loss.name, [Problem(("weight",), "does not converge")])

    whole = run_search(replace(plan, dry_run_head=refuse))
    assert whole.unusable_heads.keys() == cells(whole) - cells(plan)
    failing = [d.text for d in audit(whole, whole.trials, {}) if d.level == "fails"]
    labels = {row.label for row in whole.rows if row.loss not in first}
    assert len(failing) == len(labels) > ROUND
    for label in labels:
        text = f"{label} cannot be trained: center: weight: does not converge"
        assert any(found.endswith(text) for found in failing)
