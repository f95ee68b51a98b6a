from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lossbench.assembly.build import build
from lossbench.assembly.check import check
from lossbench.data.images import Images
from lossbench.data.loading import load_dataset
from lossbench.errors import DataError, NotFiniteError
from lossbench.evaluation.base import EVALUATIONS, Evaluation, Measurement, Trained
from lossbench.planning.measurements import result_for
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, Metric, TrialResult
from lossbench.registry import registering
from lossbench.runner.trial import PausedError, run_trial
from lossbench.suite.load import load_suite
from lossbench.training.checkpoints import Checkpoints
from lossbench.training.loop import Training, train

Write = Callable[..., Path]
NOWHERE = Path("/nonexistent/data")


def trial_of(path: Path, *overrides: str, index: int = 0) -> Trial:
    return check(load_suite(path, overrides), NOWHERE).trials[index]


def run(trial: Trial, folder: Path, data_root: Path = NOWHERE) -> TrialResult:
    folder.mkdir()
    return result_for(trial, run_trial(trial, data_root=data_root, artifacts=folder))


@pytest.mark.parametrize(
    "loss", ["softmax", "center", "l_softmax", "contrastive", "triplet", "lgm"]
)
def test_the_same_trial_twice_is_bit_identical(
    write_suite: Write, tmp_path: Path, loss: str
) -> None:
    overrides = (f"losses=[{loss}]", "variants={a: {augment: [mirror, random_crop: {padding: 1}]}}")
    trial = trial_of(write_suite(), *overrides)
    first, second = run(trial, tmp_path / "1"), run(trial, tmp_path / "2")
    assert first.metrics == second.metrics
    assert [e.metrics for e in first.history] == [e.metrics for e in second.history]
    weights = [torch.load(tmp_path / n / "weights.pt", weights_only=True) for n in "12"]
    for part in ("model", "head"):
        for name, tensor in weights[0][part].items():
            assert torch.equal(tensor, weights[1][part][name])
    seeded = run(trial.model_copy(update={"seed": 5}), tmp_path / "3")
    assert seeded.history[-1].metrics != first.history[-1].metrics


def test_files_of_a_finished_trial(write_suite: Write, tmp_path: Path) -> None:
    trial = trial_of(write_suite(), "recipe.epochs=15", "evaluate=[error, top5_error]")
    epochs: list[EpochRecord] = []
    (tmp_path / "out").mkdir()
    result = run_trial(trial, data_root=NOWHERE, artifacts=tmp_path / "out", on_epoch=epochs.append)
    assert result.status == "finished"
    assert [e.epoch for e in epochs] == list(range(1, 16))
    assert tuple(epochs) == result.history
    assert set(epochs[0].metrics) == {
        "train_loss", "train_cross_entropy", "train_error", "lr", "test_error",
    }  # fmt: skip
    assert result.metrics["error"] == epochs[-1].metrics["test_error"]
    assert result.metrics["top5_error"] < result.metrics["error"] < 60
    assert result.wall_time_sec > 0
    assert result.peak_memory_mib > 50

    kept = np.load(tmp_path / "out" / "predictions.npz")
    wrong = int(np.sum(kept["predicted"] != kept["labels"]))
    assert 100 * wrong / len(kept["labels"]) == result.metrics["error"]
    # the stored weights give the stored numbers
    weights = torch.load(tmp_path / "out" / "weights.pt", weights_only=True)
    parts = build(trial, load_dataset("digits", NOWHERE), torch.device("cpu"))
    parts.training.model.load_state_dict(weights["model"])
    parts.training.head.load_state_dict(weights["head"])
    parts.training.model.eval()
    images = parts.training.normalise(parts.measured.images.permute(0, 3, 1, 2))
    predicted = parts.training.head.logits(parts.training.model(images)).argmax(1)
    assert np.array_equal(predicted.numpy(), kept["predicted"])
    embedding = np.load(tmp_path / "out" / "embedding.npz", allow_pickle=False)
    assert embedding["features"].shape == (1200, 2)
    assert embedding["class_names"].tolist() == [str(digit) for digit in range(10)]
    assert TrialResult.model_validate_json(result.model_dump_json()) == result


def test_only_two_dimensional_features_are_saved_as_embedding(
    write_suite: Write, tmp_path: Path
) -> None:
    run(trial_of(write_suite(), "model.feature_dim=3", "recipe.epochs=1"), tmp_path / "out")
    assert not (tmp_path / "out" / "embedding.npz").exists()


def test_a_loss_that_is_not_finite_is_a_result(write_suite: Write, tmp_path: Path) -> None:
    result = run(trial_of(write_suite(), "recipe.optimizer.lr=1e30"), tmp_path / "out")
    assert result.status == "diverged"
    assert "not finite in epoch 1" in result.reason
    assert result.metrics == {}
    assert TrialResult.model_validate_json(result.model_dump_json()) == result


def test_a_training_near_chance_is_not_a_divergence(
    write_suite: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = torch.randn(597, 10, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr("lossbench.evaluation.base.Trained.scores", noise)
    result = run(trial_of(write_suite()), tmp_path / "out")
    assert result.status == "finished"
    assert result.reason.startswith("no better than guessing: right on ")
    assert result.no_better_than_guessing
    assert result.metrics["error"] > 80


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (0.0, "gave the same class for all 597 images"),
        (math.nan, "its features were not finite in the end"),
    ],
)
def test_a_collapse_is_a_divergence(
    write_suite: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    weights: float,
    reason: str,
) -> None:
    def spoiled(training: Training, *_: object) -> str:
        with torch.no_grad():
            for parameter in training.model.parameters():
                parameter.fill_(weights)
        training.model.eval()
        return ""

    monkeypatch.setattr("lossbench.runner.trial.train", spoiled)
    result = run(trial_of(write_suite()), tmp_path / "out")
    assert (result.status, result.reason) == ("diverged", reason)


def test_nan_in_the_scores_counts_as_divergence(
    write_suite: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(training: Training, *_: object) -> str:
        with torch.no_grad():
            training.head.linear.bias.fill_(math.nan)
        training.model.eval()
        return ""

    monkeypatch.setattr("lossbench.runner.trial.train", spoiled)
    result = run(trial_of(write_suite()), tmp_path / "out")
    reason = "its class scores were not finite in the end"
    assert (result.status, result.reason, result.metrics) == ("diverged", reason, {})


def test_nan_in_an_evaluation_counts_as_divergence(
    write_suite: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_number(*_: object) -> None:
        raise NotFiniteError("a score is not a number")

    monkeypatch.setattr("lossbench.evaluation.accuracy.Error.__call__", no_number)
    result = run(trial_of(write_suite()), tmp_path / "out")
    assert (result.status, result.reason) == ("diverged", "in the end a score is not a number")


@pytest.fixture
def own_evaluation() -> Iterator[type[Evaluation]]:
    """An evaluation of a user's file, whose value a test sets."""

    class Own(Evaluation):
        """A metric with a chosen value."""

        value = 0.0

        def metrics(self) -> tuple[Metric, ...]:
            return (Metric(name="own", label="own"),)

        def __call__(self, trained: Trained) -> Measurement:
            return Measurement({"own": self.value})

    with registering("a test", lambda _: "a test"):
        EVALUATIONS.register("own")(Own)
    yield Own
    EVALUATIONS.unregister("a test")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_of_a_users_evaluation_that_is_not_finite_counts_as_divergence(
    write_suite: Write, tmp_path: Path, own_evaluation: type[Any], value: float
) -> None:
    own_evaluation.value = value
    result = run(trial_of(write_suite(), "evaluate=[error, own]"), tmp_path / "out")
    reason = f"its metric own was {value} in the end"
    assert (result.status, result.reason, result.metrics) == ("diverged", reason, {})


def test_a_finite_value_of_a_users_evaluation_is_stored(
    write_suite: Write, tmp_path: Path, own_evaluation: type[Any]
) -> None:
    own_evaluation.value = 0.5
    result = run(
        trial_of(write_suite(), "evaluate=[error, own]", "recipe.epochs=15"), tmp_path / "out"
    )
    assert (result.status, result.metrics["own"]) == ("finished", 0.5)


def test_pure_metric_losses_classify_by_class_means(write_suite: Write, tmp_path: Path) -> None:
    overrides = (
        "losses=[triplet: {softmax_weight: 0}]",
        "recipe.epochs=15",
        "model.feature_dim=8",
    )
    result = run(trial_of(write_suite(), *overrides), tmp_path / "out")
    assert result.status == "finished"
    assert result.metrics["error"] < 20


def test_other_data_than_planned_is_refused(write_suite: Write, tmp_path: Path) -> None:
    trial = trial_of(write_suite()).model_copy(update={"data_digest": "0" * 16})
    with pytest.raises(DataError, match="was planned with 0000000000000000"):
        run(trial, tmp_path / "out")


def test_a_prepared_folder_is_a_data_set(
    write_suite: Write, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_folder("mine", side=12, channels=3)
    plan = check(load_suite(write_suite(), ["dataset=mine"]), folder.parent)
    result = run(plan.trials[0], tmp_path / "out", folder.parent)
    assert len(result.history) == 2


def test_without_a_test_set_errors_are_not_measured_and_chance_is_not_a_collapse(
    write_suite: Callable[..., Path], make_faces: Callable[..., None], tmp_path: Path
) -> None:
    make_faces(tmp_path / "lfw", side=16)
    overrides = ["dataset=lfw_within", "evaluate=[verification]", "recipe.optimizer.lr=1.0e-9"]
    [trial, *_] = check(load_suite(write_suite(), overrides), tmp_path).trials
    result = run_trial(trial, data_root=tmp_path, artifacts=tmp_path)
    assert (result.status, result.reason) == ("finished", "")  # it knows no class
    assert result.metrics.keys() == {f"verification_{k}" for k in ("accuracy", "fold_std", "eer")}
    assert not {"test_error", "holdout_error"} & result.history[-1].metrics.keys()


def test_a_paused_trial_has_the_device_and_the_cost_of_all_its_epochs(
    write_suite: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lossbench.runner.trial.device_name", lambda _: "Fake GPU 9000")
    trial = trial_of(write_suite(), "recipe.epochs=4")
    seconds: list[float] = []
    train_epochs = train

    def train_and_note(training: Training, data: Images, on_epoch: Any, until: Any) -> str:
        def noted(epoch: int, metrics: dict[str, float]) -> None:
            seconds.append(metrics["train_time_sec"])
            on_epoch(epoch, metrics)

        return train_epochs(training, data, noted, until)

    monkeypatch.setattr("lossbench.runner.trial.train", train_and_note)

    def paused_after(epoch: int) -> TrialResult:
        with pytest.raises(PausedError) as paused:
            run_trial(
                trial,
                data_root=NOWHERE,
                artifacts=tmp_path,
                checkpoints=Checkpoints(tmp_path / "checkpoints", {}),
                until=epoch,
            )
        return paused.value.partial_result

    first, second = paused_after(2), paused_after(3)  # the second resumes after epoch 2
    assert [len(first.history), len(second.history)] == [2, 3]
    assert len(seconds) == 3
    assert first.wall_time_sec == pytest.approx(sum(seconds[:2]))
    assert second.wall_time_sec == pytest.approx(sum(seconds))
    assert min(first.peak_memory_mib, second.peak_memory_mib) > 50
    finished = run(trial, tmp_path / "out")
    assert first.device == second.device == finished.device == "Fake GPU 9000"
    assert first.environment == finished.environment
    assert (first.status, first.metrics) == ("stopped", {})
