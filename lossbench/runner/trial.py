"""The one function that a worker runs: a trial in, its result out."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import lossbench
from lossbench.assembly.build import Assembled, build
from lossbench.data.suite_data import open_trial_data, require_unchanged
from lossbench.errors import NotFiniteError
from lossbench.evaluation.accuracy import all_alike, top_error
from lossbench.evaluation.base import Arrays, Trained, as_arrays
from lossbench.evaluation.embedding import embedding
from lossbench.losses import LOSSES
from lossbench.models import MODELS
from lossbench.planning.divergence import collapse, guessing
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, TrialResult
from lossbench.training.checkpoints import Checkpoints, restore, snapshot
from lossbench.training.loop import Training, train
from lossbench.training.memory import peak_memory_mib, reset_peak_memory
from lossbench.training.process_group import Team

OnEpoch = Callable[[EpochRecord | None], None]


class PausedError(Exception):
    """A training that waits after an epoch, to be gone on with from its checkpoint.

    Attributes:
        history: One record an epoch.
    """

    def __init__(self, history: tuple[EpochRecord, ...]) -> None:
        super().__init__("paused")
        self.history = history


def run_trial(
    trial: Trial,
    *,
    data_root: Path,
    artifacts: Path,
    device: str = "cpu",
    on_epoch: OnEpoch = lambda record: None,
    team: Team | None = None,
    checkpoints: Checkpoints | None = None,
    until: int | None = None,
) -> TrialResult:
    """Train one trial and measure it.

    Args:
        trial: What to train.
        data_root: Where prepared data sets are.
        artifacts: Existing folder; gets `predictions.npz`, `weights.pt`, and `embedding.npz`
            where features are two-dimensional, and what the evaluations store.
        device: `cpu` or `cuda`.
        on_epoch: Called after each epoch; with None by those who do not lead the team. Epochs
            before a checkpoint that the trial goes on from are told again first.
        team: The processes that train it together, each of which calls this; None: alone.
        checkpoints: Of this trial: gone on from if there is one, and written to.
        until: Epoch after which the training is paused; None: train and measure all of it.

    Returns:
        The result; a training that diverged is one, too. Only the leader measures, and its
        result counts.

    Raises:
        DataError: The data set here is not the one that was planned with, or was changed.
        PausedError: The training is paused after the epoch `until`.
    """
    place, team = torch.device(device), team or Team()
    torch.set_num_threads(trial.threads)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32, as on the CPU
    dataset = open_trial_data(trial, data_root)
    reset_peak_memory(place)
    parts = build(trial, dataset, place, team)
    if checkpoints:
        checkpoints.required_after = until
    so_far = _resume(parts.training, checkpoints)
    if so_far is None:
        so_far, parts = _SoFar(), build(trial, dataset, place, team)  # a part may be restored
    for earlier in so_far.history:
        on_epoch(earlier if team.leads else None)

    def record(epoch: int, metrics: dict[str, float]) -> None:
        peak_mib = peak_memory_mib(place)  # of the steps, not of what follows here
        so_far.peak_mib = max(so_far.peak_mib, peak_mib)
        so_far.training_time_sec += metrics.pop("train_time_sec")
        if team.leads:
            if parts.measured is not None:
                trained = _trained(trial, parts, data_root)
                error = top_error(trained.scores, parts.measured.labels, 1)
                metrics[f"{parts.measured_name}_error"] = error
            finite = {name: value for name, value in metrics.items() if np.isfinite(value)}
            now_ms = time.time_ns() // 1_000_000
            so_far.history.append(EpochRecord(epoch=epoch, timestamp_ms=now_ms, metrics=finite))
        if checkpoints and np.isfinite(metrics["train_loss"]):
            _keep(parts.training, so_far, checkpoints)
        on_epoch(so_far.history[-1] if team.leads else None)
        reset_peak_memory(place)

    not_finite = train(parts.training, parts.train, record, until)
    if until is not None and not not_finite and parts.training.epochs_done < trial.recipe.epochs:
        raise PausedError(tuple(so_far.history))
    if not team.leads:
        metrics, reason, note = dict[str, float](), "", ""
    elif not_finite:
        metrics, reason, note = {}, not_finite, ""
    else:
        metrics, reason, note = _measure(_trained(trial, parts, data_root), parts, artifacts)
    if team.leads:
        require_unchanged(trial, data_root, dataset)
    return TrialResult(
        identity=trial.identity,
        status="diverged" if reason else "finished",
        reason=reason or note,
        metrics=metrics,
        history=tuple(so_far.history),
        wall_time_sec=so_far.training_time_sec,
        peak_memory_mib=so_far.peak_mib,
        device=device_name(device),
        environment=environment(trial),
    )


@dataclass
class _SoFar:
    """What a training has told, and taken."""

    history: list[EpochRecord] = field(default_factory=list)
    training_time_sec: float = 0.0
    peak_mib: float = 0.0


def _keep(training: Training, so_far: _SoFar, checkpoints: Checkpoints) -> None:
    """Write a checkpoint if it is time; a team, whose epochs are long, after each."""
    if training.team.size == 1 and not checkpoints.is_due(training.epochs_done):
        return
    state = snapshot(training)
    if training.team.leads:
        told = {
            "history": [record.model_dump() for record in so_far.history],
            "training_time_sec": so_far.training_time_sec,
            "peak_mib": so_far.peak_mib,
            "paused": training.epochs_done == checkpoints.required_after,
        }
        checkpoints.save(training.epochs_done, {"training": state, **told})


def _resume(training: Training, checkpoints: Checkpoints | None) -> _SoFar | None:
    """Go on from the newest checkpoint; None if it does not fit."""
    state = checkpoints.load() if checkpoints else None
    if checkpoints is None or state is None:
        return _SoFar()
    try:
        restore(training, state["training"])
        history = [EpochRecord.model_validate(record) for record in state["history"]]
        so_far = _SoFar(history, state["training_time_sec"], state["peak_mib"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        first = str(error).partition("\n")[0]
        checkpoints.notes.append(f"its checkpoint does not fit, so it starts anew: {first}")
        return None
    if not state.get("paused"):  # no news
        checkpoints.notes.append(f"goes on after epoch {training.epochs_done}")
    return so_far


def device_name(device: str) -> str:
    """`cpu`, or what the GPU calls itself."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


def environment(trial: Trial | None = None) -> dict[str, str]:
    """Versions that decide the numbers.

    Args:
        trial: Adds the libraries that its loss and its model come from, if not from lossbench.
    """
    libraries: set[str] = set()
    if trial:
        libraries = {LOSSES[trial.loss.name].distribution, MODELS[trial.model.name].distribution}
    return {
        "lossbench": lossbench.__version__,
        "code": _code_digest(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        **{library: importlib.metadata.version(library) for library in sorted(libraries - {""})},
    }


@functools.cache
def _code_digest() -> str:
    """Of the package's own source files: two with one version number may still differ."""
    digest = hashlib.sha256()
    root = Path(lossbench.__file__).parent
    for file in sorted(root.rglob("*.py")):
        digest.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _trained(trial: Trial, parts: Assembled, data_root: Path) -> Trained:
    """What evaluations see, at this point of the training."""
    training = parts.training
    trained = Trained(
        model=training.model,
        head=training.head,
        normalise=training.normalise,
        train=parts.train,
        measured=parts.measured,
        data_root=data_root,
        seed=trial.seed,
        class_names=parts.class_names,
    )
    if training.head.wants_class_means:  # it classifies by the nearest class mean
        training.head.fit_class_means(trained.train_features, parts.train.labels)
    return trained


def _measure(
    trained: Trained, parts: Assembled, artifacts: Path
) -> tuple[dict[str, float], str, str]:
    """Metrics after the last epoch, why it counts as diverged, and a note; writes the artifacts."""
    features = trained.train_features if trained.measured is None else trained.features
    if not torch.isfinite(features).all():
        return {}, "its features were not finite in the end", ""
    if trained.measured is not None and trained.scores.softmax(1).isnan().any():
        return {}, "its class scores were not finite in the end", ""
    weights = {
        part: {name: tensor.cpu() for name, tensor in module.state_dict().items()}
        for part, module in (("model", trained.model), ("head", trained.head))
    }
    torch.save(weights, artifacts / "weights.pt")
    values: dict[str, float] = {}
    for evaluation in parts.evaluations:
        try:
            measurement = evaluation(trained)
        except NotFiniteError as error:
            return {}, f"in the end {error}", ""
        values |= measurement.values
        for name, arrays in measurement.arrays.items():
            _save(artifacts / f"{name}.npz", arrays)
    if trained.head.feature_dim == 2:
        _save(artifacts / "embedding.npz", embedding(trained))
    return values, *_collapse(trained, artifacts)


def _collapse(trained: Trained, artifacts: Path) -> tuple[str, str]:
    """How it collapsed, and a note on its answers, or nothing; stores the predictions.

    Without a test set nothing is classified, and a model that knows its many classes poorly
    may still tell identities apart; it collapsed if all its features are the same.
    """
    alike = "its features were all the same in the end"
    if trained.measured is None:
        return alike if all_alike(trained.train_features) else "", ""
    scores, labels = trained.scores, trained.measured.labels
    posterior, predicted = scores.softmax(1).max(1)
    kept = as_arrays({"labels": labels, "predicted": predicted, "posterior": posterior})
    _save(artifacts / "predictions.npz", kept)
    answers = kept["predicted"], kept["labels"], trained.head.num_classes
    reason, note = collapse(*answers), guessing(*answers)
    if not reason and note and all_alike(trained.features):  # rounding alone sets them apart
        reason = alike
    return reason, note


def _save(path: Path, arrays: Arrays) -> None:
    np.savez_compressed(path, allow_pickle=False, **arrays)
