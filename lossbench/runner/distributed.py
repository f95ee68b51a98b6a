"""One trial trained by several workers: Ray Train inside the trial's Tune job."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import train
from ray.train.torch import TorchTrainer, get_device
from ray.tune.integration.ray_train import TuneReportCallback

from lossbench.assembly.plugins import install
from lossbench.errors import DataError
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, Plugin, TrialResult
from lossbench.runner.checkpoints import checkpoints_of
from lossbench.runner.file_server import at_home
from lossbench.runner.node_data import data_root_of
from lossbench.runner.trial import PausedError, run_trial
from lossbench.training.process_group import Team

DELIVERED = "delivered"
PAUSED = "paused.json"


def train_together(config: Mapping[str, Any]) -> Path:
    """Train a trial with `resources.workers` workers; runs in the trial's Tune job.

    Args:
        config: `trial` (JSON), `data_root`, `device`, `gpus` (of each worker), `storage` and
            `checkpoints` (folders that every node reaches), `checkpoint_sec`, `plugins`, `depot`,
            `until`.

    Returns:
        Folder with what the leader measured and the result.

    Raises:
        PausedError: The training is paused.
        DataError: The data cannot be used, or a node does not reach the folders.
    """
    _require_shared(config)
    trial = Trial.model_validate_json(config["trial"])
    folder = Path(config["storage"]) / f"together-{trial.identity}"
    shutil.rmtree(folder, ignore_errors=True)  # of a try whose worker died
    (folder / DELIVERED).mkdir(parents=True)
    gpu = {"GPU": config["gpus"]} if config["gpus"] else {}
    trainer = TorchTrainer(
        _member,
        train_loop_config={**config, "folder": str(folder)},
        scaling_config=train.ScalingConfig(
            num_workers=trial.workers,
            use_gpu=bool(gpu),
            resources_per_worker={"CPU": trial.threads, **gpu},
        ),
        run_config=train.RunConfig(
            name="train",
            storage_path=str(folder),
            callbacks=[TuneReportCallback()],  # type: ignore[list-item]
        ),
    )
    refused = folder / "refused"
    try:
        trainer.fit()
    except Exception:
        if refused.exists():  # what a worker said, instead of Ray's account of its end
            raise DataError(refused.read_text(encoding="utf-8")) from None
        raise
    if (folder / PAUSED).exists():
        history = json.loads((folder / PAUSED).read_text(encoding="utf-8"))
        raise PausedError(tuple(EpochRecord.model_validate(record) for record in history))
    return folder / DELIVERED


def _require_shared(config: Mapping[str, Any]) -> None:
    """The members of a team meet in files; a trial with one worker does not need to."""
    if not at_home(config):
        raise DataError(
            f"node {platform.node()} does not see {config['storage']}: with resources.workers "
            "above 1 the working folder has to be on a file system that all nodes share"
        )


def _member(config: dict[str, Any]) -> None:
    """Runs in each worker."""
    _require_shared(config)
    trial = Trial.model_validate_json(config["trial"])
    install(Plugin.model_validate(plugin) for plugin in config["plugins"])
    context, folder = train.get_context(), Path(config["folder"])
    team = Team(context.get_world_rank(), context.get_world_size())
    checkpoints = checkpoints_of(trial, config)

    def on_epoch(record: EpochRecord | None) -> None:
        """Ray Train waits until every worker has reported."""
        notes = list(checkpoints.notes) if team.leads else []
        checkpoints.notes.clear()
        train.report({"epochs": [record.model_dump()] if record else [], "notes": notes})

    try:
        result: TrialResult = run_trial(
            trial,
            data_root=data_root_of(trial, config),
            artifacts=folder / DELIVERED,
            device=str(get_device()) if config["device"] == "cuda" else "cpu",
            on_epoch=on_epoch,
            team=team,
            checkpoints=checkpoints,
            until=config["until"].get(trial.identity),
        )
    except PausedError as paused:
        if team.leads:
            told = json.dumps([record.model_dump() for record in paused.history])
            (folder / PAUSED).write_text(told, encoding="utf-8")
        return
    except DataError as error:
        (folder / "refused").write_text(str(error), encoding="utf-8")
        raise
    if team.leads:
        (folder / DELIVERED / "result.json").write_text(result.model_dump_json(), encoding="utf-8")
