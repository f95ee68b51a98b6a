"""Measurement of a trained model: its evaluations, its artifacts, and whether it collapsed.

Every evaluation starts from the same random state, whether it follows the training or is measured
later on the stored weights, and whatever is measured before it. So its values are the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lossbench.assembly.build import TrialObjects
from lossbench.errors import DataError, NotFiniteError
from lossbench.evaluation import EVALUATIONS
from lossbench.evaluation.base import Arrays, Trained, as_arrays
from lossbench.evaluation.embedding import embedding
from lossbench.planning.divergence import collapse_reason, guessing_note
from lossbench.planning.result_files import WEIGHTS, array_file
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, MeasurementRecord
from lossbench.runner.environment import device_name, environment
from lossbench.runner.user_evaluation import failure_text, measure_guarded
from lossbench.training.seeding import seed_everything
from lossbench.training.trained_weights import read_weights, weights_digest, weights_of

_MAX_MESSAGE = 300
_REMEDY = "delete the run of this trial in MLflow to train it again"


@dataclass(frozen=True)
class TrainingOutcome:
    """Outcome of one training.

    Attributes:
        divergence: Reason why the training counts as diverged; else empty.
        note: Note on predictions that are no better than guessing; else empty.
        weights_digest: Digest of the trained parameters; empty if they are not usable.
    """

    divergence: str = ""
    note: str = ""
    weights_digest: str = ""


def trained_model(
    trial: Trial, parts: TrialObjects, data_root: Path, history: Iterable[EpochRecord] = ()
) -> Trained:
    """View of the current state of a training for the evaluations, in eval mode."""
    model, head = parts.training.measured_network(parts.train)
    trained = Trained(
        model=model,
        head=head,
        normalise=parts.training.normalise,
        train=parts.train,
        measured=parts.measured,
        data_root=data_root,
        seed=trial.seed,
        class_names=parts.class_names,
        validation=parts.validation,
        left_out=parts.left_out,
        history=tuple(history),
    )
    if head.needs_class_means:  # the head classifies by the nearest class mean
        head.fit_class_means(trained.train_features, parts.train.labels)
    return trained


def finish_training(trial: Trial, trained: Trained, artifacts: Path) -> TrainingOutcome:
    """Check a model after its last epoch, and write its weights, predictions and embedding.

    Args:
        trial: The trial.
        trained: The trained model.
        artifacts: Existing folder for the files.
    """
    features = trained.train_features if trained.measured is None else trained.features
    if not torch.isfinite(features).all():
        return TrainingOutcome(divergence="its features were not finite in the end")
    if trained.measured is not None and trained.scores.softmax(1).isnan().any():
        return TrainingOutcome(divergence="its class scores were not finite in the end")
    weights = weights_of(trained.model, trained.head)
    if trial.keep_weights:
        torch.save(weights, artifacts / WEIGHTS)
    if trained.head.feature_dim == 2:
        _save(artifacts / "embedding.npz", embedding(trained))
    return TrainingOutcome(*_collapse(trained, artifacts), weights_digest(weights))


def load_weights(model: nn.Module, head: nn.Module, file: Path, digest: str) -> str:
    """Load stored weights into a model and its head.

    Args:
        model, head: Newly built model and head of the same trial.
        file: File that `finish_training` wrote.
        digest: Expected digest of the parameters; empty if it was not stored.

    Returns:
        Digest of the parameters.

    Raises:
        DataError: The file is damaged, or has the weights of another network.
    """
    try:
        weights = read_weights(file.read_bytes())
        model.load_state_dict(weights["model"])
        head.load_state_dict(weights["head"])
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).partition("\n")[0]
        raise DataError(
            f"the file of the stored weights cannot be used: {first}; {_REMEDY}"
        ) from None
    found = weights_digest(weights)
    if digest and found != digest:
        raise DataError(f"the stored weights are not those that were measured before; {_REMEDY}")
    return found


def measure(
    trial: Trial,
    trained: Trained,
    parts: TrialObjects,
    artifacts: Path,
    device: str,
    skipped: Collection[str] = (),
) -> tuple[tuple[MeasurementRecord, ...], dict[str, str]]:
    """Run the evaluations of a trial on a trained model, and write their arrays.

    Args:
        trial: The trial.
        trained: The trained model.
        parts: The evaluations, in the order of `trial.evaluate`.
        artifacts: Existing folder; the arrays go to `measurements/IDENTITY/NAME.npz`.
        device: `cpu` or `cuda`.
        skipped: Identities of measurements that are not needed.

    Returns:
        Measurements, and the errors of evaluations that failed, by name. One that fails does not
        affect the others.

    Raises:
        DataError: Other data cannot be used.
    """
    records: list[MeasurementRecord] = []
    failures: dict[str, str] = {}
    for planned, identity, evaluation in zip(
        trial.evaluate, trial.measurement_identities, parts.evaluations, strict=True
    ):
        if identity in skipped:
            continue
        seed_everything(trial.seed)
        started = time.perf_counter()
        values: Mapping[str, float] = {}
        arrays: Mapping[str, Arrays] = {}
        try:
            if EVALUATIONS[planned.name].external:
                measurement = measure_guarded(trained, evaluation)
            else:
                measurement = evaluation(trained)
        except NotFiniteError as error:
            divergence = f"in the end {_printable(str(error))}"
        except DataError:
            raise
        except Exception as error:
            failures[planned.name] = failure_text(planned.name, evaluation, error)
            continue
        else:
            values, arrays = measurement.values, measurement.arrays
            divergence = _not_finite(values)
        for name, content in arrays.items():
            _save(artifacts / array_file(identity, name), content)
        records.append(
            MeasurementRecord(
                identity=identity,
                name=planned.name,
                params=planned.params,
                metrics={} if divergence else dict(values),
                divergence=divergence,
                artifacts=tuple(arrays),
                wall_time_sec=time.perf_counter() - started,
                device=device_name(device),
                environment=environment(trial, planned.name),
            )
        )
    return tuple(records), failures


def _printable(text: str) -> str:
    """A message as one line, because reports print it and archives require it."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= _MAX_MESSAGE else f"{line[:_MAX_MESSAGE]}..."


def _not_finite(values: Mapping[str, float]) -> str:
    """Reason why metrics cannot be used; empty if all are finite."""
    for name, value in values.items():
        if not math.isfinite(value):
            return f"its metric {name} was {value} in the end"
    return ""


def _collapse(trained: Trained, artifacts: Path) -> tuple[str, str]:
    """Save the predictions; return the reason for a collapse and a note on guessing, or ''.

    Without a test set nothing is classified, and a model with a large training error may still
    distinguish identities. It has collapsed if all features are the same.
    """
    identical = "its features were all the same in the end"
    if trained.measured is None:
        return identical if features_are_constant(trained.train_features) else "", ""
    scores, labels = trained.scores, trained.measured.labels
    posterior, predicted = scores.softmax(1).max(1)
    arrays = as_arrays({"labels": labels, "predicted": predicted, "posterior": posterior})
    _save(artifacts / "predictions.npz", arrays)
    answers = arrays["predicted"], arrays["labels"], trained.head.num_classes
    reason, note = collapse_reason(*answers), guessing_note(*answers)
    constant = note and features_are_constant(trained.features)  # up to rounding
    if not reason and constant:
        reason = identical
    return reason, note


def features_are_constant(features: Tensor) -> bool:
    """Whether the features (N, D) of all images are equal up to rounding."""
    return bool(features.std(0).max() <= 1e-6 * features.abs().max())


def _save(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, allow_pickle=False, **arrays)
