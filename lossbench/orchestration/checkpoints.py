"""Where the checkpoints of a run's trials are, and when they go."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lossbench.plan import Trial
from lossbench.training.checkpoints import Checkpoints
from lossbench.trial import device_name, environment


def checkpoints_of(trial: Trial, config: Mapping[str, Any]) -> Checkpoints:
    """Those of one trial, in a worker.

    Args:
        trial: The trial.
        config: `checkpoints` (a folder that every node reaches), `checkpoint_sec`, `device`.
    """
    made_by = {**environment(trial), "device": device_name(config["device"])}
    return Checkpoints(
        Path(config["checkpoints"]) / trial.identity, made_by, config["checkpoint_sec"]
    )


def drop_checkpoints(work: Path, trials: Iterable[Trial]) -> None:
    """Of trials whose results are kept."""
    for trial in trials:
        shutil.rmtree(work / "checkpoints" / trial.identity, ignore_errors=True)
