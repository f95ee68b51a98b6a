"""Baselines of suites with tuned recipe keys: cells are found by their tuned values, too."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.errors import RequestError
from lossbench.gate.baseline import Baseline
from lossbench.gate.baseline_file import baseline_text, read_baseline
from lossbench.gate.comparability import require_comparable
from lossbench.gate.formats import json_text
from lossbench.gate.from_results import baseline_from_results
from lossbench.gate.regression import check_cells
from lossbench.planning.selection import PlanWithResults
from lossbench.planning.trial import Trial
from lossbench.suite.load import load_suite
from tests.report.synthetic_report import result_of

LR = "recipe.optimizer.lr"
SUITE = """\
suite: tuning
dataset: digits
model: {name: digits_cnn, feature_dim: 2}
recipe: {epochs: 2, batch_size: 64, optimizer: {name: sgd, lr: 0.05}}
seeds: [0, 1]
reference: softmax
losses: [softmax, center]
"""
TUNED = f"tune: {{{LR}: {{grid: [0.01, 0.1]}}}}\nselection: {{holdout: 0.2, compare: [softmax]}}\n"


def found_with(folder: Path, best: float, more: str = TUNED) -> PlanWithResults:
    """Results in which a learning rate is the best of each loss."""

    def error(trial: Trial) -> float:
        return 2 + abs(math.log10(trial.recipe.optimizer.params["lr"] / best)) + 0.1 * trial.seed

    path = folder / "suite.yaml"
    path.write_text(SUITE + more, encoding="utf-8")
    plan = check(load_suite(path), folder)
    first = PlanWithResults(plan, {t.identity: result_of(t, error(t)) for t in plan.trials})
    return replace(first, results={t.identity: result_of(t, error(t)) for t in first.trials})


@pytest.fixture
def baseline(tmp_path: Path) -> Callable[[float], Baseline]:
    return lambda best: baseline_from_results(found_with(tmp_path, best), "command")


def test_points_of_one_loss_do_not_collide(baseline: Callable[[float], Baseline]) -> None:
    cells = baseline(0.1).cells
    assert len({cell.key for cell in cells}) == len(cells) == 4 + 3
    tested = [(cell.row, cell.tuned) for cell in cells if not cell.held_out]
    assert tested == [("softmax", {LR: 0.1}), ("softmax(untuned)", {}), ("center", {LR: 0.1})]


def test_a_baseline_is_identical_to_its_own_results(
    tmp_path: Path, baseline: Callable[[float], Baseline]
) -> None:
    found = found_with(tmp_path, 0.1)
    path = tmp_path / "baseline.json"
    path.write_text(baseline_text(baseline(0.1)), encoding="utf-8")
    stored = read_baseline(path)
    require_comparable(stored, found.plan, None, path)
    checked = check_cells(stored, baseline(0.1))
    assert {cell.verdict for cell in checked} == {"identical"}
    assert len(checked) == 7
    assert f'"tuned": {{"{LR}": 0.1}}' in json_text(checked, stored, stored)


def test_another_choice_is_no_comparison_of_different_values(
    baseline: Callable[[float], Baseline],
) -> None:
    tested = {
        (cell.cell.row, cell.cell.tuned.get(LR)): cell.verdict
        for cell in check_cells(baseline(0.1), baseline(0.01))
        if not cell.cell.held_out and cell.cell.row != "softmax(untuned)"
    }
    assert tested == {
        ("softmax", 0.01): "new",
        ("center", 0.01): "new",
        ("softmax", 0.1): "undecided",
        ("center", 0.1): "undecided",
    }


def test_a_suite_without_the_value_is_refused(
    tmp_path: Path, baseline: Callable[[float], Baseline]
) -> None:
    stored = baseline(0.1)
    plan = found_with(tmp_path, 0.1, TUNED.replace("0.1]", "0.3]")).plan
    with pytest.raises(RequestError, match="the suite has no default/softmax"):
        require_comparable(stored, plan, None, tmp_path / "baseline.json")


def test_baselines_without_tuning_have_no_such_key(tmp_path: Path) -> None:
    found = found_with(tmp_path, 0.1, "")
    assert "tuned" not in baseline_text(baseline_from_results(found, "command"))


@pytest.mark.parametrize(("compare", "refused"), [("", False), (", compare: [softmax]", True)])
def test_the_own_value_of_a_tuned_key_matters_for_rows_to_compare_only(
    tmp_path: Path, compare: str, refused: bool
) -> None:
    tuned = f"tune: {{{LR}: {{grid: [0.01, 0.1]}}}}\nselection: {{holdout: 0.2{compare}}}\n"
    old = baseline_from_results(found_with(tmp_path, 0.1, tuned), "command")
    path = tmp_path / "suite.yaml"
    plan = check(load_suite(path, ["recipe.optimizer.lr=0.06"]), tmp_path)
    if not refused:
        require_comparable(old, plan, None, path)
        return
    with pytest.raises(
        RequestError, match=r"recipe\.optimizer\.lr: 0\.05 in the baseline, 0\.06 now"
    ):
        require_comparable(old, plan, None, path)
