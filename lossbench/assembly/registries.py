"""Kinds of the components of a suite except data sets, their registries, entries of a trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.evaluation import EVALUATIONS, Evaluation
from lossbench.losses import LOSSES, LossHead
from lossbench.models import MODELS
from lossbench.planning.trial import Trial
from lossbench.registry import Entry, Registry
from lossbench.training.optimizers import OPTIMIZERS
from lossbench.training.schedules import SCHEDULES


@dataclass(frozen=True)
class ComponentKind:
    """A kind of components, and what its factories have to be.

    Attributes:
        registry: Its registry.
        constant: Name of the registry in Python.
        module: Module of the registry, and of `base` if it is lossbench's own.
        example: Name of a component in an example.
        base: Class that classes have to be derived from; None for any.
        arguments: Arguments of a factory that are not parameters.
    """

    registry: Registry[Any]
    constant: str
    module: str
    example: str
    base: type | None = None
    arguments: tuple[str, ...] = ()


KINDS = (
    ComponentKind(
        LOSSES, "LOSSES", "lossbench.losses", "my_loss", LossHead, ("num_classes", "feature_dim")
    ),
    ComponentKind(MODELS, "MODELS", "lossbench.models", "my_model", nn.Module, ("image_shape",)),
    ComponentKind(
        AUGMENTATIONS,
        "AUGMENTATIONS",
        "lossbench.data.augmentation",
        "my_augmentation",
        None,
        ("crop",),
    ),
    ComponentKind(EVALUATIONS, "EVALUATIONS", "lossbench.evaluation", "my_metric", Evaluation),
    ComponentKind(OPTIMIZERS, "OPTIMIZERS", "lossbench.training.optimizers", "my_optimizer"),
    ComponentKind(
        SCHEDULES, "SCHEDULES", "lossbench.training.schedules", "my_schedule", None, ("epochs",)
    ),
)
REGISTRIES: tuple[Registry[Any], ...] = tuple(kind.registry for kind in KINDS)


def training_entries(trial: Trial) -> tuple[Entry[Any], ...]:
    """Entries of the components that a trial is trained with."""
    return (
        LOSSES[trial.loss.name],
        MODELS[trial.model.name],
        *(AUGMENTATIONS[chosen.name] for chosen in trial.augment),
        OPTIMIZERS[trial.recipe.optimizer.name],
        SCHEDULES[trial.recipe.schedule.name],
    )


def plugin_entries() -> dict[str, Entry[Any]]:
    """Entries that plugins have registered, by kind and name as in `loss my_loss`."""
    return {
        key: entry for registry in REGISTRIES for key, entry in registry.plugin_entries().items()
    }
