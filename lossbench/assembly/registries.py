"""Registries of all components of a suite except data sets."""

from __future__ import annotations

from typing import Any

from lossbench.data.augmentation import AUGMENTATIONS
from lossbench.evaluation import EVALUATIONS
from lossbench.losses import LOSSES
from lossbench.models import MODELS
from lossbench.registry import Entry, Registry
from lossbench.training.optimizers import OPTIMIZERS
from lossbench.training.schedules import SCHEDULES

REGISTRIES: tuple[Registry[Any], ...] = (
    LOSSES,
    MODELS,
    AUGMENTATIONS,
    EVALUATIONS,
    OPTIMIZERS,
    SCHEDULES,
)


def plugin_entries() -> dict[str, Entry[Any]]:
    """Entries that plugins have registered, by kind and name as in `loss my_loss`."""
    return {
        key: entry for registry in REGISTRIES for key, entry in registry.plugin_entries().items()
    }
