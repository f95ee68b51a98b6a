"""Execution of one trial in this process: train, measure, return the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from lossbench.assembly.build import build
from lossbench.data.suite_data import open_trial_data, require_unchanged
from lossbench.evaluation.accuracy import top_error
from lossbench.planning.measurements import all_metrics, missing_evaluations, with_measurements
from lossbench.planning.result_files import RESULT, WEIGHTS
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, MeasurementRecord, Status, TrialResult
from lossbench.runner.environment import device_name, environment
from lossbench.runner.measurement import (
    TrainingOutcome,
    finish_training,
    load_weights,
    measure,
    trained_model,
)
from lossbench.training.checkpoints import Checkpoints, restore, snapshot
from lossbench.training.loop import Training, train
from lossbench.training.memory import keep_freed_memory, peak_memory_mib, reset_peak_memory
from lossbench.training.process_group import ProcessGroup

OnEpoch = Callable[[EpochRecord | None], None]


class PausedError(Exception):
    """A training is paused after an epoch and can be resumed from its checkpoint.

    Attributes:
        partial_result: Result of the epochs so far, which is recorded if the trial is pruned.
    """

    def __init__(self, partial_result: TrialResult) -> None:
        super().__init__("paused")
        self.partial_result = partial_result


@dataclass
class TrainingProgress:
    """Records of the epochs trained so far, and their cost.

    Attributes:
        history: One record per epoch.
        training_time_sec: Wall time of the training steps.
        peak_mib: Peak memory during the training steps.
    """

    history: list[EpochRecord] = field(default_factory=list)
    training_time_sec: float = 0.0
    peak_mib: float = 0.0


def run_trial(
    trial: Trial,
    *,
    data_root: Path,
    artifacts: Path,
    device: str = "cpu",
    on_epoch: OnEpoch = lambda record: None,
    group: ProcessGroup | None = None,
    checkpoints: Checkpoints | None = None,
    until: int | None = None,
) -> TrialResult:
    """Train one trial and measure it.

    Args:
        trial: The trial.
        data_root: Folder of the prepared data sets.
        artifacts: Existing folder for `predictions.npz`, `weights.pt` (if weights are kept),
            `embedding.npz` (if features are two-dimensional), and the arrays of the evaluations,
            `measurements/IDENTITY/NAME.npz`.
        device: `cpu` or `cuda`.
        on_epoch: Called after each epoch; with None in processes other than the main process. If
            the trial resumes from a checkpoint, it is first called for each earlier epoch.
        group: Processes that train the trial together, each of which calls this function; None:
            this process only.
        checkpoints: Checkpoints of this trial, for resuming and saving; None for no checkpoints.
        until: Epoch after which the training is paused; None: train all epochs and measure.

    Returns:
        The result, also if the training diverged; without the measurements of evaluations that
        failed with an error, which are in its `failures`. Only the main process measures, and only
        its result is valid.

    Raises:
        DataError: The data set differs from the planned one, or changed during the training.
        PausedError: The training is paused after the epoch `until`.
    """
    place, group = torch.device(device), group or ProcessGroup()
    _prepare_process(trial)
    dataset = open_trial_data(trial, data_root)
    reset_peak_memory(place)
    parts = build(trial, dataset, place, group)
    if checkpoints:
        checkpoints.required_after = until
    progress = _resume(parts.training, checkpoints)
    if progress is None:  # parts may be restored incompletely
        progress, parts = TrainingProgress(), build(trial, dataset, place, group)
    for earlier in progress.history:
        on_epoch(earlier if group.is_main_process else None)

    def record(epoch: int, metrics: dict[str, float]) -> None:
        peak_mib = peak_memory_mib(place)  # of the training steps, before anything is measured
        progress.peak_mib = max(progress.peak_mib, peak_mib)
        progress.training_time_sec += metrics.pop("train_time_sec")
        if group.is_main_process:
            if parts.measured is not None:
                trained = trained_model(trial, parts, data_root)
                error = top_error(trained.scores, parts.measured.labels, 1)
                metrics[f"{parts.measured_name}_error"] = error
            finite = {name: value for name, value in metrics.items() if np.isfinite(value)}
            now_ms = time.time_ns() // 1_000_000
            progress.history.append(EpochRecord(epoch=epoch, timestamp_ms=now_ms, metrics=finite))
        if checkpoints and np.isfinite(metrics["train_loss"]):
            _save_checkpoint(parts.training, progress, checkpoints)
        on_epoch(progress.history[-1] if group.is_main_process else None)
        reset_peak_memory(place)

    def result(
        status: Status,
        reason: str,
        weights_digest: str = "",
        records: tuple[MeasurementRecord, ...] = (),
    ) -> TrialResult:
        return TrialResult(
            identity=trial.identity,
            status=status,
            reason=reason,
            metrics=all_metrics(records),
            measurements=records,
            weights_digest=weights_digest,
            history=tuple(progress.history),
            wall_time_sec=progress.training_time_sec,
            peak_memory_mib=progress.peak_mib,
            device=device_name(device),
            environment=environment(trial),
        )

    not_finite = train(parts.training, parts.train, record, until)
    if until is not None and not not_finite and parts.training.epochs_done < trial.recipe.epochs:
        raise PausedError(result("stopped", ""))
    outcome = TrainingOutcome(divergence=not_finite)
    records: tuple[MeasurementRecord, ...] = ()
    failures: dict[str, str] = {}
    if group.is_main_process:
        if not not_finite:
            trained = trained_model(trial, parts, data_root, progress.history)
            outcome = finish_training(trial, trained, artifacts)
            if outcome.weights_digest:
                records, failures = measure(trial, trained, parts, artifacts, device)
        require_unchanged(trial, data_root, dataset)
    status: Status = "diverged" if outcome.divergence else "finished"
    reason = outcome.divergence or outcome.note
    complete = result(status, reason, outcome.weights_digest, records)
    return complete.model_copy(update={"failures": failures})


def measure_trial(
    trial: Trial, *, data_root: Path, stored: Path, artifacts: Path, device: str = "cpu"
) -> TrialResult:
    """Measure the missing evaluations of a trained trial on its stored weights.

    Args:
        trial: The trial.
        data_root: Folder of the prepared data sets.
        stored: Folder with `result.json` and `weights.pt` of the training.
        artifacts: Existing folder for the arrays of the evaluations.
        device: `cpu` or `cuda`.

    Returns:
        The stored result with the new measurements, and the `failures` of the others.

    Raises:
        DataError: The data set differs from the planned one, or changed meanwhile, or the weights
            are damaged.
    """
    _prepare_process(trial)
    before = TrialResult.model_validate_json((stored / RESULT).read_text(encoding="utf-8"))
    dataset = open_trial_data(trial, data_root)
    parts = build(trial, dataset, torch.device(device))
    training = parts.training
    digest = load_weights(training.model, training.head, stored / WEIGHTS, before.weights_digest)
    trained = trained_model(trial, parts, data_root, before.history)
    wanted = {
        evaluation.identity(trial.identity) for evaluation in missing_evaluations(trial, before)
    }
    known = set(trial.measurement_identities) - wanted
    records, failures = measure(trial, trained, parts, artifacts, device, skipped=known)
    require_unchanged(trial, data_root, dataset)
    result = with_measurements(before, [*before.measurements, *records])
    update = {"identity": trial.identity, "weights_digest": digest, "failures": failures}
    return result.model_copy(update=update)


def _prepare_process(trial: Trial) -> None:
    keep_freed_memory()
    torch.set_num_threads(trial.threads)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # full float32 precision, as on the CPU


def _save_checkpoint(
    training: Training, progress: TrainingProgress, checkpoints: Checkpoints
) -> None:
    """Write a checkpoint if it is due; with several processes always, because epochs are long."""
    if training.group.size == 1 and not checkpoints.is_due(training.epochs_done):
        return
    state = snapshot(training)
    if training.group.is_main_process:
        content = {
            "training": state,
            "history": [record.model_dump() for record in progress.history],
            "training_time_sec": progress.training_time_sec,
            "peak_mib": progress.peak_mib,
            "paused": training.epochs_done == checkpoints.required_after,
        }
        checkpoints.save(training.epochs_done, content)


def _resume(training: Training, checkpoints: Checkpoints | None) -> TrainingProgress | None:
    """Resume from the newest checkpoint.

    Returns:
        Progress up to the checkpoint, empty if there is none; None if the checkpoint does not fit.
    """
    state = checkpoints.load() if checkpoints else None
    if checkpoints is None or state is None:
        return TrainingProgress()
    try:
        restore(training, state["training"])
        history = [EpochRecord.model_validate(record) for record in state["history"]]
        progress = TrainingProgress(history, state["training_time_sec"], state["peak_mib"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        first = str(error).partition("\n")[0]
        checkpoints.notes.append(f"its checkpoint does not fit, so it starts from scratch: {first}")
        return None
    if not state.get("paused"):  # a planned pause needs no note
        checkpoints.notes.append(f"resumes after epoch {training.epochs_done}")
    return progress
