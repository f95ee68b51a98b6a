"""Measurement of a trained model: its metrics, its artifacts, and whether it collapsed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lossbench.assembly.build import TrialObjects
from lossbench.errors import NotFiniteError
from lossbench.evaluation.base import Arrays, Trained, as_arrays
from lossbench.evaluation.embedding import embedding
from lossbench.planning.divergence import collapse_reason, guessing_note
from lossbench.planning.trial import Trial


@dataclass(frozen=True)
class TrainingOutcome:
    """Outcome of one training.

    Attributes:
        metrics: Values by the suite's metric names; empty if the training diverged.
        divergence: Reason why the training counts as diverged; else empty.
        note: Note on predictions that are no better than guessing; else empty.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    divergence: str = ""
    note: str = ""


def trained_model(trial: Trial, parts: TrialObjects, data_root: Path) -> Trained:
    """View of the current state of a training for the evaluations."""
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
    if training.head.needs_class_means:  # the head classifies by the nearest class mean
        training.head.fit_class_means(trained.train_features, parts.train.labels)
    return trained


def measure(trained: Trained, parts: TrialObjects, artifacts: Path) -> TrainingOutcome:
    """Measure a model after its last epoch, and write its artifacts.

    Args:
        trained: The trained model.
        parts: The evaluations to run.
        artifacts: Existing folder for weights, predictions, and arrays of the evaluations.
    """
    features = trained.train_features if trained.measured is None else trained.features
    if not torch.isfinite(features).all():
        return TrainingOutcome(divergence="its features were not finite in the end")
    if trained.measured is not None and trained.scores.softmax(1).isnan().any():
        return TrainingOutcome(divergence="its class scores were not finite in the end")
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
            return TrainingOutcome(divergence=f"in the end {error}")
        for name, value in measurement.values.items():
            if not math.isfinite(value):
                return TrainingOutcome(divergence=f"its metric {name} was {value} in the end")
        values |= measurement.values
        for name, arrays in measurement.arrays.items():
            _save(artifacts / f"{name}.npz", arrays)
    if trained.head.feature_dim == 2:
        _save(artifacts / "embedding.npz", embedding(trained))
    return TrainingOutcome(values, *_collapse(trained, artifacts))


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
    np.savez_compressed(path, allow_pickle=False, **arrays)
