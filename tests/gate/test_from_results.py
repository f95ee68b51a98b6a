"""Results in the form of a baseline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.errors import RequestError
from lossbench.gate.baseline_file import read_baseline
from lossbench.planning.plan import Plan
from tests.gate.files import BODY, STEADY, Fill, MakePlan, check, update
from tests.report.synthetic_report import GRID, Results


def test_missing_results_are_named_with_the_command(
    written: Path, make_plan: MakePlan, fill: Fill
) -> None:
    plan = make_plan(BODY)
    results = fill(plan, {**STEADY, "A/center": [5.0, None, None]})
    with pytest.raises(RequestError) as caught:
        check(plan, results, written)
    assert str(caught.value) == (
        "2 trials have no result: A/center (seed 1, 2)\nrun them first: lossbench run suite.yaml"
    )
    with pytest.raises(RequestError, match="no result"):
        update(plan, results, written)


def test_trials_that_are_not_measured_are_named_with_the_evaluations(
    written: Path, make_plan: MakePlan, fill: Fill
) -> None:
    plan = make_plan(BODY + "evaluate: [error, top5_error, knn]\n")
    results = fill(plan, {**STEADY, "A/center": [5.0, 5.0, None]})
    for trial in plan.trials:
        if trial.row == "softmax" and trial.seed:
            unmeasured = {"unmeasured": ("knn",), "metrics": {"error": 5.0, "top5_error": 5.0}}
            changed = results[trial.identity].model_copy(update=unmeasured)
            results[trial.identity] = changed
    for action in (check, update):
        with pytest.raises(RequestError) as caught:
            action(plan, results, written)
        assert str(caught.value) == (
            "1 trials have no result: A/center (seed 2)\n"
            "4 trials are trained, but knn is not measured: A/softmax (seed 1, 2); "
            "B/softmax (seed 1, 2)\nrun them first: lossbench run suite.yaml"
        )


def test_a_metric_that_is_not_finite_counts_as_diverged(
    written: Path, make_plan: MakePlan, fill: Fill
) -> None:
    plan = make_plan(BODY)
    results = fill(plan, STEADY)
    for trial in plan.trials:
        if (trial.variant, trial.row) == ("B", "center"):
            value = float("nan") if trial.seed else float("inf")
            changed = results[trial.identity].model_copy(update={"metrics": {"error": value}})
            results[trial.identity] = changed
    text, code = check(plan, results, written)
    assert code == 1
    assert "regression: B/center error: 3 of 3 seeds diverged; in the baseline none of 3" in text


def test_a_suite_with_selection_has_cells_of_both_stages(
    make_plan: MakePlan, run_all: Callable[[Plan], Results], tmp_path: Path
) -> None:
    plan, path = make_plan(GRID), tmp_path / "synthetic.json"
    results = run_all(plan)
    update(plan, results, path)
    baseline = read_baseline(path)
    assert [m.name for m in baseline.metrics] == ["holdout_error", "error"]
    assert sum(c.metric == "error" for c in baseline.cells) == 6  # one row per loss, two columns
    assert check(plan, results, path)[1] == 0
