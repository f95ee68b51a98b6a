"""Selection: what is chosen by which results, and the trials that follow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lossbench.planning.selection import (
    PlanWithResults,
    choose_rows,
    final_trials,
    held_out_scores,
    load_plan_with_results,
)
from lossbench.records import Metric
from tests.planning.test_plan import plan_of
from tests.report.synthetic_report import result_of
from tests.synthetic_plans import SyntheticStore

Write = Callable[..., Path]


def test_the_lowest_held_out_mean_is_chosen(write_suite: Write) -> None:
    plan = plan_of(write_suite(), "selection={holdout: 0.25}")
    assert {t.holdout for t in plan.trials} == {0.25}
    values = {"softmax": [9.0, 9.0], "lgm(alpha=0)": [1.0, 6.0], "lgm(alpha=0.3)": [3.0, 3.0]}
    scores = {t.identity: values[t.row][t.seed] for t in plan.trials}
    chosen = choose_rows(plan, scores)
    assert {key: row.label for key, row in chosen.items()} == {
        ("default", "softmax"): "softmax",
        ("default", "lgm"): "lgm(alpha=0.3)",
    }
    final = final_trials(plan, chosen)
    assert {(t.row, t.seed, t.holdout) for t in final} == {
        (row, seed, 0.0) for row in ("softmax", "lgm(alpha=0.3)") for seed in (0, 1)
    }


def test_rows_of_compare_are_tested_in_addition_to_the_chosen(write_suite: Write) -> None:
    plan = plan_of(write_suite(), "selection={holdout: 0.25}")
    plan = replace(plan, compared=tuple(r for r in plan.rows if r.label == "lgm(alpha=0)"))
    for best in ("lgm(alpha=0.3)", "lgm(alpha=0)"):
        scores = {t.identity: 1.0 if t.row == best else 2.0 for t in plan.trials}
        final = final_trials(plan, choose_rows(plan, scores))
        rows = {"softmax", "lgm(alpha=0)", best}
        assert sorted((t.row, t.seed) for t in final) == sorted(
            (r, s) for r in rows for s in (0, 1)
        )
    assert final_trials(plan, {}) == ()


def test_the_highest_mean_is_chosen_if_higher_is_better(write_suite: Write) -> None:
    plan = plan_of(write_suite(), "selection={holdout: 0.25}")
    plan = replace(plan, metrics=(Metric(name="error", label="e", higher_is_better=True),))
    scores = {t.identity: 9.0 if t.row == "lgm(alpha=0)" else 5.0 for t in plan.trials}
    assert choose_rows(plan, scores)["default", "lgm"].label == "lgm(alpha=0)"


def test_a_row_with_a_diverged_seed_is_not_chosen(write_suite: Write) -> None:
    plan = plan_of(write_suite(), "selection={holdout: 0.25}")
    scores = {
        t.identity: 0.0 if t.row == "lgm(alpha=0)" else 5.0
        for t in plan.trials
        if (t.row, t.seed) != ("lgm(alpha=0)", 1)
    }
    assert choose_rows(plan, scores)["default", "lgm"].label == "lgm(alpha=0.3)"


def test_diverged_trials_and_missing_metrics_have_no_score(write_suite: Write) -> None:
    plan = plan_of(write_suite(), "selection={holdout: 0.25}")
    finished, diverged, without, missing, *_ = plan.trials
    results = {
        finished.identity: result_of(finished, 3.0),
        diverged.identity: result_of(diverged, 3.0, status="diverged"),
        without.identity: result_of(without, 3.0, metrics={"top5_error": 1.0}),
    }
    scores = held_out_scores(plan, results)
    assert scores[finished.identity] == 3.0
    assert math.isnan(scores[diverged.identity])
    assert math.isnan(scores[without.identity])
    assert missing.identity not in scores
    assert held_out_scores(plan_of(write_suite()), results) == {}


def test_a_metric_that_is_not_measured_yet_is_no_score(write_suite: Write) -> None:
    plan = plan_of(write_suite(), "selection={holdout: 0.25}")
    without, measured, *_ = plan.trials
    results = {
        without.identity: result_of(without, 3.0, metrics={}, unmeasured=("error",)),
        measured.identity: result_of(measured, 4.0, unmeasured=("fgsm",)),
    }
    assert held_out_scores(plan, results) == {measured.identity: 4.0}
    assert choose_rows(plan, held_out_scores(plan, results)) == {}
    found = PlanWithResults(plan, results)
    assert not any(found.is_complete(trial) for trial in found.trials)


def test_a_suite_without_selection_has_one_stage(write_suite: Write) -> None:
    plan = plan_of(write_suite())
    found = PlanWithResults(plan, {})
    assert [stage.measured for stage in found.stages] == ["test"]
    assert found.trials == plan.trials
    assert found.chosen == {}


def test_results_are_read_once_for_each_trial(write_suite: Write) -> None:
    plan = plan_of(write_suite(), "selection={holdout: 0.25}")
    store = SyntheticStore(lambda trial: 1.0 if "0.3" in trial.row else 2.0)
    found = load_plan_with_results(plan, store)
    assert len(store.asked) == len(set(store.asked)) == len(found.trials) == 6 + 4
    assert found.results.keys() == set(store.asked)
    assert found.chosen["default", "lgm"].label == "lgm(alpha=0.3)"
    assert found.latest_stage is found.test_stage
    started = PlanWithResults(plan, {t.identity: found.results[t.identity] for t in plan.trials})
    assert started.latest_stage.measured == "holdout"


def test_the_reference_matches_a_label_or_a_loss(write_suite: Write) -> None:
    found = PlanWithResults(plan_of(write_suite()), {})
    assert found.test_stage.reference_labels("softmax") == {"default": "softmax"}
    assert found.test_stage.reference_labels("lgm(alpha=0)") == {"default": "lgm(alpha=0)"}
    assert found.test_stage.reference_labels("lgm") == {}  # two rows
    assert found.test_stage.reference_labels(None) == {}
