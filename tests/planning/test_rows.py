"""Rows of a table: their labels and entries, and that labels leave trainings unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.planning.fairness import audit
from lossbench.planning.plan import Plan
from lossbench.planning.plan_file import PlanRecord, plan_of, plan_record
from lossbench.planning.rows import Row
from lossbench.planning.selection import PlanWithResults, Stage, choose_rows, final_trials
from lossbench.planning.status import PlanStatus
from lossbench.records import EpochRecord, TrialResult
from lossbench.runner.halving import next_trainings
from lossbench.suite.dump import suite_yaml
from lossbench.suite.load import load_suite
from lossbench.suite.schema import Component, Suite

NOWHERE = Path("/nonexistent/data")
HEAD = """\
suite: labelled
dataset: digits
model: {name: digits_cnn, feature_dim: 2}
recipe: {epochs: 8, batch_size: 64, optimizer: {name: sgd, lr: 0.03}}
seeds: [0, 1]
"""
PLAIN = "  - softmax\n  - lgm: {alpha: 0.3}\n"
TWO = """\
  - softmax
  - lgm: {label: plain, alpha: {grid: [0.1, 0.3]}}
  - lgm: {label: ours, alpha: {grid: [0.1, 0.3]}, covariance: diagonal}
"""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Plan]:
    def make_plan(losses: str, more: str = "") -> Plan:
        path = tmp_path / "suite.yaml"
        path.write_text(f"{HEAD}losses:\n{losses}{more}", encoding="utf-8")
        return check(load_suite(path), NOWHERE)

    return make_plan


def labels(plan: Plan) -> list[str]:
    return [row.label for row in plan.rows]


def test_a_default_that_is_left_out_is_no_part_of_a_label(make: Callable[..., Plan]) -> None:
    plan = make("  - softmax: {class_weights: {grid: [null, balanced, [1,1,1,1,1,1,1,1,1,2]]}}\n")
    assert labels(plan) == [
        "softmax",
        "softmax(class_weights=balanced)",
        "softmax(class_weights=[1,1,1,1,1,1,1,1,1,2])",
    ]
    plan = make("  - softmax: {class_weights: balanced}\n  - softmax\n")
    assert labels(plan) == ["softmax(class_weights=balanced)", "softmax"]
    more = "selection: {holdout: 0.2}\n"
    plan = make("  - softmax: {class_weights: {grid: [null, balanced]}}\n", more)
    assert not any("has no parameters" in d.text for d in audit(plan, plan.trials, {}))


def test_a_missing_value_is_null_in_a_label(make: Callable[..., Plan]) -> None:
    plan = make("  - ldam: {reweight_from: {grid: [null, 0.8]}}\n")
    assert labels(plan) == ["ldam(reweight_from=null)", "ldam(reweight_from=0.8)"]


def test_a_label_replaces_the_name_of_the_loss(make: Callable[..., Plan]) -> None:
    assert labels(make("  - softmax\n  - lgm: {alpha: 0.3, label: ours}\n")) == ["softmax", "ours"]
    grid = make("  - lgm: {alpha: {grid: [0.1, 0.3]}, label: ours}\n  - lgm: {alpha: 1}\n")
    assert labels(grid) == ["ours(alpha=0.1)", "ours(alpha=0.3)", "lgm"]
    assert [row.entry for row in grid.rows] == ["ours", "ours", "lgm"]
    assert labels(make("  - lgm: {label: 0.5}\n")) == ["0.5"]
    assert Row("x", Component(name="lgm"), {}).entry == "lgm"


def test_trainings_are_shared_with_a_suite_without_the_label(make: Callable[..., Plan]) -> None:
    plan, labelled = make(PLAIN), make(PLAIN.replace("0.3", "0.3, label: ours"))
    assert [t.row for t in labelled.trials] == ["softmax", "ours"] * 2
    assert [t.identity for t in plan.trials] == [t.identity for t in labelled.trials]
    assert "ours" not in labelled.trials[1].model_copy(update={"row": ""}).model_dump_json()
    assert plan.table_identity == labelled.table_identity


def test_a_suite_without_labels_is_dumped_without_the_key(make: Callable[..., Plan]) -> None:
    plan = make(PLAIN)
    assert '"label"' not in plan.suite.model_dump_json()
    assert '"entry_label"' not in plan_record(plan).model_dump_json()
    assert '"label":null' not in plan_record(plan).model_dump_json()


@pytest.mark.parametrize("alpha", ["{grid: [0.1, 0.3]}", "{search: [0.1, 0.3]}"])
def test_a_plan_file_keeps_labels(alpha: str, make: Callable[..., Plan]) -> None:
    plan = make(
        f"  - lgm: {{alpha: {alpha}, label: ours}}\n",
        "selection: {samples: 2}\n" if "search" in alpha else "selection: {}\n",
    )
    read = plan_of(PlanRecord.model_validate_json(plan_record(plan).model_dump_json()))
    assert (read.rows, read.losses) == (plan.rows, plan.losses)
    assert read.suite.losses == plan.suite.losses
    assert {row.entry for row in read.rows} == {"ours"}


def test_the_written_suite_has_the_labels(make: Callable[..., Plan], tmp_path: Path) -> None:
    plan = make(TWO)
    path = tmp_path / "written.yaml"
    path.write_text(suite_yaml(plan.expanded_suite), encoding="utf-8")
    assert labels(check(load_suite(path), NOWHERE)) == labels(plan)
    whole = Suite.model_validate(plan.suite.model_dump(mode="json"))
    assert whole.losses == plan.suite.losses


def scores(plan: Plan) -> dict[str, float]:
    """Held-out errors with which plain(alpha=0.3) and ours(alpha=0.1) are chosen."""
    best = {"softmax", "plain(alpha=0.3)", "ours(alpha=0.1)"}
    return {t.identity: 1.0 if t.row in best else 2.0 for t in plan.trials}


def test_each_entry_is_chosen_for_on_its_own(make: Callable[..., Plan]) -> None:
    plan = make(TWO, "reference: plain\nselection: {}\n")
    chosen = choose_rows(plan, scores(plan))
    assert {entry: row.label for (_, entry), row in chosen.items()} == {
        "softmax": "softmax",
        "plain": "plain(alpha=0.3)",
        "ours": "ours(alpha=0.1)",
    }
    final = final_trials(plan, chosen)
    assert len(final) == 6
    assert Stage("test", final, {}).reference_labels("plain") == {"default": "plain(alpha=0.3)"}


def test_budgets_are_those_of_entries(make: Callable[..., Plan]) -> None:
    even = make(TWO, "selection: {}\n")
    assert not any("tuning budget" in d.text for d in audit(even, even.trials, {}))
    uneven = make(TWO.replace("[0.1, 0.3]}}", "[0.1]}}"), "selection: {}\n")
    [found] = [d.text for d in audit(uneven, uneven.trials, {}) if "tuning budget" in d.text]
    assert "1 for plain; 2 for ours" in found


def test_rows_are_pruned_within_their_entry(make: Callable[..., Plan]) -> None:
    plan = make(TWO, "selection: {stop_early: true}\n")

    def paused(trial_row: str, identity: str) -> TrialResult:
        worst = {"plain(alpha=0.1)": 50.0, "plain(alpha=0.3)": 40.0}
        error = worst.get(trial_row, 20.0 if trial_row == "ours(alpha=0.3)" else 10.0)
        records = tuple(
            EpochRecord(epoch=e, timestamp_ms=e, metrics={"holdout_error": error})
            for e in range(1, 6)
        )
        return TrialResult(
            identity=identity,
            status="finished",
            metrics={},
            history=records,
            wall_time_sec=1.0,
            peak_memory_mib=1.0,
            device="cpu",
            environment={},
        )

    partial = {t.identity: paused(t.row, t.identity) for t in plan.trials}
    pruned = next_trainings(plan.trials, {}, partial).pruned
    names = {t.row for t in plan.trials if t.identity in pruned}
    assert names == {"plain(alpha=0.1)", "ours(alpha=0.3)"}


def test_remaining_final_trials_are_expected_per_entry(make: Callable[..., Plan]) -> None:
    plan = make(TWO, "selection: {}\n")
    expected = PlanStatus(plan, plan.trials, {}).expected_trials
    assert {t.entry for t in expected} == {"softmax", "plain", "ours"}
    assert PlanWithResults(plan, {}).chosen == {}
