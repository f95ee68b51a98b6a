"""Two losses with different good learning rates: the search finds the region of each; pruning."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lossbench.assembly.check import check
from lossbench.planning.search import SearchPoints
from lossbench.planning.selection import load_plan_with_results
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.runner.halving import next_trainings
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from tests.report.synthetic_report import result_of

# measured with 8 epochs and one seed: learning rates 0.003, 0.03 and 0.3 give held-out errors of
# 90, 53 and 11 % for softmax, and of 22, 89 and 93 % for cosface, whose scores are scaled by 30
SUITE = """\
suite: regions
dataset: {name: digits, train_size: 600, test_size: 300}
model: {name: digits_cnn, feature_dim: 8}
recipe: {epochs: 6, batch_size: 16, optimizer: {name: sgd, lr: 0.03}, input: {mean: 0, std: 256}}
seeds: [0]
reference: softmax
losses: [softmax, cosface]
tune: {recipe.optimizer.lr: {search: {low: 0.001, high: 0.4, log: true}}}
selection: {holdout: 0.2, samples: 7}
"""


class TrainingStore:
    """Store that trains what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.trained: dict[str, TrialResult] = {}

    def results(self, trials: Iterable[Trial]) -> dict[str, TrialResult]:
        found = {}
        for trial in trials:
            if trial.identity not in self.trained:
                artifacts = self._folder / trial.identity
                artifacts.mkdir()
                result = run_trial(trial, data_root=self._folder, artifacts=artifacts)
                self.trained[trial.identity] = result
            found[trial.identity] = self.trained[trial.identity]
        return found

    def search_points(self, suite: str) -> dict[str, SearchPoints]:
        return {}

    def look_records(self, suite: str) -> dict[str, object]:
        return {}


def test_each_loss_is_trained_with_its_own_learning_rate(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE, encoding="utf-8")
    store = TrainingStore(tmp_path)
    found = load_plan_with_results(check(load_suite(path), tmp_path), store)  # type: ignore[arg-type]
    chosen = {entry: row.tuned["recipe.optimizer.lr"] for (_, entry), row in found.chosen.items()}
    assert chosen["cosface"] < 0.02 < 0.05 < chosen["softmax"]
    held_out, tested = found.stages
    assert len(held_out.trials) == 14
    assert {t.row: t.recipe.optimizer.params["lr"] for t in tested.trials} == chosen
    assert len(store.trained) == 16


def test_points_are_pruned_among_those_of_their_loss(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    searched = "{search: {low: 0.001, high: 0.4, log: true}}"
    text = SUITE.replace(searched, "{grid: [0.003, 0.03, 0.3]}").replace(", samples: 7", "")
    path.write_text(text.replace("0.2}", "0.2, stop_early: true}"), encoding="utf-8")
    plan = check(load_suite(path), tmp_path)
    # in percent: those of cosface are all worse than those of softmax
    errors = {"softmax": (30.0, 20.0, 10.0), "cosface": (50.0, 60.0, 70.0)}
    held_out = {row.label: errors[row.entry][i % 3] for i, row in enumerate(plan.rows)}

    def paused(trial: Trial, epochs: int) -> TrialResult:
        metrics = {"holdout_error": held_out[trial.row]}
        history = [EpochRecord(epoch=e, timestamp_ms=e, metrics=metrics) for e in range(epochs + 1)]
        return result_of(trial, 0.0).model_copy(update={"history": tuple(history[1:])})

    [rung] = set(next_trainings(plan.trials, {}, {}).until.values())
    at_rung = {trial.identity: paused(trial, rung) for trial in plan.trials}
    pruned = next_trainings(plan.trials, {}, at_rung).pruned
    labels = {trial.row for trial in plan.trials if trial.identity in pruned}
    assert labels == {"softmax(lr=0.003)", "cosface(lr=0.3)"}
