"""The evaluation `best_error`, measured after a training and where the suite may not use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.cli.until_decided import plan_with_looks
from lossbench.errors import RequestError
from lossbench.evaluation.best_epoch import BestError
from lossbench.planning.looks import deciding_metric
from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.runner.trial import PausedError, measure_trial, run_trial
from lossbench.suite.load import load_suite
from lossbench.training.checkpoints import Checkpoints
from tests.evaluation.trained_model import make_head, make_trained

NOWHERE = Path("/nonexistent/data")


@pytest.fixture
def plan_of(write_suite: Callable[..., Path]) -> Callable[..., Plan]:
    return lambda *overrides: check(load_suite(write_suite(), overrides), NOWHERE)


def smallest(result: TrialResult) -> float:
    """The reference: a loop over the curve."""
    found = 100.0
    for record in result.history:
        [error] = [v for k, v in record.metrics.items() if k in ("test_error", "holdout_error")]
        found = error if error < found else found
    return found


def train(trial: Trial, folder: Path, **options: object) -> TrialResult:
    folder.mkdir(exist_ok=True)
    return run_trial(trial, data_root=NOWHERE, artifacts=folder, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("holdout", "epochs"), [(0.0, 10), (0.2, 4)])
def test_it_is_the_smallest_error_after_an_epoch(
    plan_of: Callable[..., Plan], tmp_path: Path, holdout: float, epochs: int
) -> None:
    # with this learning rate the last error is often not the smallest
    recipe = ("recipe.optimizer={name: sgd, lr: 0.3}", f"recipe.epochs={epochs}")
    plan = plan_of(*recipe, "model.feature_dim=16", "evaluate=[error, best_error]")
    differ = []
    for seed in range(5):
        trial = plan.trials[0].model_copy(update={"holdout": holdout, "seed": seed})
        seen: list[EpochRecord] = []
        result = train(trial, tmp_path / str(seed), on_epoch=seen.append)
        assert tuple(seen) == result.history
        assert result.metrics["best_error"] == smallest(result)
        differ.append(result.metrics["best_error"] < result.metrics["error"])
    assert any(differ)


def test_a_paused_training_has_the_errors_of_all_epochs(
    plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    trial = plan_of("recipe.epochs=4", "evaluate=[best_error]").trials[0]
    whole = train(trial, tmp_path / "whole")
    checkpoints = Checkpoints(tmp_path / "at", {})
    with pytest.raises(PausedError):
        train(trial, tmp_path / "parts", checkpoints=checkpoints, until=3)
    resumed = train(trial, tmp_path / "parts", checkpoints=Checkpoints(tmp_path / "at", {}))
    assert [r.epoch for r in resumed.history] == [1, 2, 3, 4]
    assert resumed.metrics == whole.metrics == {"best_error": smallest(whole)}


def test_it_is_measured_later_with_another_evaluation(
    plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    before = plan_of("recipe.epochs=3", "evaluate=[error]").trials[0]
    result = train(before, tmp_path / "stored")
    (tmp_path / "stored" / "result.json").write_text(result.model_dump_json(), encoding="utf-8")
    trial = plan_of("recipe.epochs=3", "evaluate=[error, best_error, top5_error]").trials[0]
    later = measure_trial(
        trial, data_root=NOWHERE, stored=tmp_path / "stored", artifacts=tmp_path / "stored"
    )
    assert later.failures == {}
    assert later.metrics["best_error"] == smallest(result)


def test_a_history_with_gaps_is_refused() -> None:
    trained = make_trained(make_head("softmax"))
    record = EpochRecord(epoch=2, timestamp_ms=0, metrics={"test_error": 3.0})
    with pytest.raises(ValueError, match="errors of some epochs are not recorded"):
        BestError()(replace(trained, history=(record,)))


def test_its_label_says_that_the_epoch_was_chosen_on_the_test_set() -> None:
    [metric] = BestError().metrics()
    assert metric.label == "error of the best epoch, chosen on the test set"
    assert metric.optimistic


def test_parameters_are_not_chosen_by_it(plan_of: Callable[..., Plan]) -> None:
    selected = ("evaluate=[error, best_error]", "selection={metric: best_error}")
    with pytest.raises(RequestError, match="trained to its last epoch") as caught:
        plan_of(*selected)
    assert "selection.metric: 'best_error' is the value" in str(caught.value)
    assert "did you mean 'error'" in str(caught.value)


def test_seeds_are_not_added_until_it_is_decided(plan_of: Callable[..., Plan]) -> None:
    both = plan_of("evaluate=[best_error, error]")
    metric = deciding_metric(both)
    assert metric is not None
    assert metric.name == "error"
    alone = plan_of("evaluate=[best_error]", "reference=softmax")
    with pytest.raises(RequestError, match="best_error is chosen on the test set"):
        plan_with_looks(alone, None, None)
