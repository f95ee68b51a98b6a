"""The one function that a worker runs: a trial in, its result out."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import lossbench
from lossbench.assembly import Assembled, build
from lossbench.data.sources import load_dataset
from lossbench.errors import DataError
from lossbench.evaluation.accuracy import METRICS, extract_features, is_chance, predictions
from lossbench.evaluation.embedding import embedding
from lossbench.plan import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.training.loop import train
from lossbench.training.memory import peak_memory_mib, reset_peak_memory

OnEpoch = Callable[[EpochRecord], None]


def run_trial(
    trial: Trial,
    *,
    data_root: Path,
    artifacts: Path,
    device: str = "cpu",
    on_epoch: OnEpoch = lambda record: None,
) -> TrialResult:
    """Train one trial and measure it.

    Args:
        trial: What to train.
        data_root: Where prepared data sets are.
        artifacts: Existing folder; gets `predictions.npz`, `weights.pt`, and `embedding.npz`
            where features are two-dimensional.
        device: `cpu` or `cuda`.
        on_epoch: Called after each epoch.

    Returns:
        The result; a training that diverged is one, too.

    Raises:
        DataError: The data set here is not the one that was planned with.
    """
    place = torch.device(device)
    torch.set_num_threads(trial.threads)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32, as on the CPU
    dataset = load_dataset(trial.dataset.name, data_root, verify=False)
    if dataset.digest != trial.data_digest:
        raise DataError(
            f"data set {trial.dataset.name!r} in {data_root} on {platform.node()} has digest "
            f"{dataset.digest}, but the suite was planned with {trial.data_digest}"
        )
    reset_peak_memory(place)
    parts = build(trial, dataset, place)
    history: list[EpochRecord] = []
    training_time_sec = peak_mib = 0.0

    def record(epoch: int, metrics: dict[str, float]) -> None:
        nonlocal training_time_sec, peak_mib
        peak_mib = max(peak_mib, peak_memory_mib(place))  # of the steps, not of what follows here
        training_time_sec += metrics.pop("train_time_sec")
        _fit_class_means(parts)
        features = extract_features(
            parts.training.model, parts.training.normalise, parts.measured.images
        )
        with torch.no_grad():
            scores = parts.training.head.logits(features)
        error = METRICS["error"].create()(scores, parts.measured.labels)
        metrics[f"{parts.measured_name}_error"] = error
        finite = {name: value for name, value in metrics.items() if np.isfinite(value)}
        now_ms = time.time_ns() // 1_000_000
        history.append(EpochRecord(epoch=epoch, timestamp_ms=now_ms, metrics=finite))
        on_epoch(history[-1])
        reset_peak_memory(place)

    stayed_finite = train(parts.training, parts.train, record)
    if stayed_finite:
        metrics, collapsed = _measure(trial, parts, artifacts)
        reason = "ended no better than chance" if collapsed else ""
    else:
        metrics, reason = {}, f"the loss was not finite in epoch {len(history)}"
    return TrialResult(
        identity=trial.identity,
        status="diverged" if reason else "finished",
        reason=reason,
        metrics=metrics,
        history=tuple(history),
        wall_time_sec=training_time_sec,
        peak_memory_mib=peak_mib,
        device=torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu",
        environment=environment(),
    )


def environment() -> dict[str, str]:
    """Versions that decide the numbers."""
    return {
        "lossbench": lossbench.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _measure(trial: Trial, parts: Assembled, artifacts: Path) -> tuple[dict[str, float], bool]:
    """Metrics after the last epoch, and whether it ended at chance; writes the artifacts."""
    training, labels = parts.training, parts.measured.labels
    head = training.head
    features = extract_features(training.model, training.normalise, parts.measured.images)
    with torch.no_grad():
        scores = head.logits(features)
    _save(artifacts / "predictions.npz", predictions(head, features, labels))
    weights = {
        part: {name: tensor.cpu() for name, tensor in module.state_dict().items()}
        for part, module in (("model", training.model), ("head", head))
    }
    torch.save(weights, artifacts / "weights.pt")
    if features.shape[1] == 2:
        of_training = extract_features(training.model, training.normalise, parts.train.images)
        _save(artifacts / "embedding.npz", embedding(head, of_training, parts.train.labels))
    collapsed = is_chance(scores.argmax(1), labels, head.num_classes)
    return {name: METRICS[name].create()(scores, labels) for name in trial.evaluate}, collapsed


def _fit_class_means(parts: Assembled) -> None:
    """For heads that classify by the nearest class mean."""
    head = parts.training.head
    if head.wants_class_means:
        features = extract_features(
            parts.training.model, parts.training.normalise, parts.train.images
        )
        head.fit_class_means(features, parts.train.labels)


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez_compressed(path, allow_pickle=False, **arrays)
