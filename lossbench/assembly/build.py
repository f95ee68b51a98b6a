"""Construction of the objects of a trial: data, model, head, optimizer, evaluations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.data.dataset import Dataset, Split
from lossbench.data.facts import view_of
from lossbench.data.images import Augment, Images, View, normaliser
from lossbench.data.trial_splits import choose_splits
from lossbench.errors import DataError, UnusableComponentError
from lossbench.evaluation import EVALUATIONS, Evaluation
from lossbench.losses import LOSSES, LossHead, TrainingFacts
from lossbench.models.base import create_model
from lossbench.planning.trial import Trial
from lossbench.suite.schema import Component
from lossbench.training.loop import Training
from lossbench.training.optimizers import build_optimizer
from lossbench.training.process_group import ProcessGroup
from lossbench.training.schedules import SCHEDULES
from lossbench.training.seeding import seed_everything
from lossbench.training.weight_averaging import WeightAverage


@dataclass(frozen=True)
class TrialObjects:
    """Objects that a trial is run with.

    Attributes:
        training: Model, head, optimizer and other objects of the training, on the device.
        train: Training set.
        measured: Test set, validation set or held-out part of the training set; None if the data
            set has none of them.
        measured_name: `test` for the test set, otherwise `holdout`.
        evaluations: Evaluations after the last epoch.
        class_names: Names of the classes in the order of their labels.
        validation, left_out: Other images for the evaluations; see `evaluation.base.Trained`.
    """

    training: Training
    train: Images
    measured: Images | None
    measured_name: str
    evaluations: tuple[Evaluation, ...]
    class_names: tuple[str, ...]
    validation: Split | None = None
    left_out: Split | None = None


def build(
    trial: Trial, dataset: Dataset, device: torch.device, group: ProcessGroup | None = None
) -> TrialObjects:
    """Build the objects of a trial. Seeds the global generators first.

    Raises:
        DataError: The initial weights of the model differ from those of the plan.
    """
    recipe = trial.recipe
    view = view_of(recipe)
    parts = choose_splits(dataset, trial.dataset, trial.holdout, trial.holdout_labels)

    seed_everything(trial.seed)
    # the model is initialised first, so that it is the same for every loss
    model = create_model(trial.model.name, dataset.image_shape(view), trial.model.params)
    if model.weights_digest != trial.weights_digest:
        raise DataError(
            f"{trial.model.name}: its weights here have digest {model.weights_digest}, but the "
            f"suite was planned with {trial.weights_digest}"
        )
    labels = torch.as_tensor(parts["train"].labels)
    counts = torch.bincount(labels, minlength=dataset.card.num_classes)
    head = create_head(trial.loss, model.feature_dim, TrainingFacts(counts, recipe.epochs))
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    head = head.to(device)
    scaling = (0.0, 1.0) if dataset.vectors else (recipe.input.mean, recipe.input.std)
    schedule = SCHEDULES[recipe.schedule.name].create(recipe.epochs, **recipe.schedule.params)
    training = Training(
        model=model,
        head=head,
        optimizer=build_optimizer(recipe.optimizer, model, head),
        schedule=schedule,
        augmentations=build_augmentations(trial.augment, view),
        normalise=normaliser(*scaling, device),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=trial.seed,
        clip_norm=recipe.clip_norm,
        averaging=WeightAverage(recipe.weight_averaging, model, head, recipe.epochs)
        if recipe.weight_averaging
        else None,
        autocast=torch.bfloat16 if recipe.precision == "bfloat16" else None,
        compiled=recipe.compile,
        group=group or ProcessGroup(),
    )
    evaluations = tuple(build_evaluations(trial.evaluate))
    return TrialObjects(
        training=training,
        train=parts["train"].to_device(device, view),
        measured=parts["measured"].to_device(device, view) if "measured" in parts else None,
        measured_name="holdout" if trial.holdout else "test",
        evaluations=evaluations,
        class_names=tuple(dataset.card.class_names),
        validation=dataset.splits["validation"] if trial.reads_validation_set else None,
        left_out=dataset.left_out_test() if any(e.needs_left_out for e in evaluations) else None,
    )


def build_evaluations(chosen: Iterable[Component]) -> list[Evaluation]:
    return [EVALUATIONS[evaluation.name].create(**evaluation.params) for evaluation in chosen]


def build_augmentations(chosen: Iterable[Component], view: View) -> list[Augment]:
    return [AUGMENTATIONS[a.name].create(view.crop, **a.params) for a in chosen]


def create_head(loss: Component, feature_dim: int, facts: TrainingFacts) -> LossHead:
    """The head of a loss, prepared for a training.

    Raises:
        ParameterError: The loss cannot be trained on these classes.
        UnusableComponentError: The loss of a plugin gives something else than a head.
    """
    head: Any = LOSSES[loss.name].create(len(facts.class_counts), feature_dim, **loss.params)
    if not isinstance(head, LossHead):
        raise UnusableComponentError(
            f"gives {type(head).__name__}; should give a lossbench.losses.LossHead"
        )
    head.prepare(facts)
    return head
