"""Training of one trial by several workers: Ray Train inside the trial's Tune job."""

from __future__ import annotations

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
from lossbench.runner.checkpoint_folders import checkpoints_of
from lossbench.runner.file_server import DELIVERED, shares_filesystem
from lossbench.runner.node_data import data_root_of
from lossbench.runner.trial import PausedError, run_trial
from lossbench.training.process_group import ProcessGroup

PAUSED = "paused.json"
DATA_PROBLEM = "data_problem"
FAILURE = "failure.txt"


def train_distributed(config: Mapping[str, Any]) -> tuple[Path, str]:
    """Train a trial with `resources.workers` workers; runs in the trial's Tune job.

    Args:
        config: `trial` (JSON), `data_root`, `device`, `gpus` (per worker), `storage` and
            `checkpoints` (folders on a file system that all nodes share), `checkpoint_sec`,
            `plugins`, `file_server`, `until`.

    Returns:
        Folder with the result and the artifacts of the main process, and the tracebacks of
        evaluations that failed, or ''.

    Raises:
        PausedError: The training is paused.
        DataError: The data cannot be used, or a node does not share the folders.
    """
    _require_shared_filesystem(config)
    trial = Trial.model_validate_json(config["trial"])
    folder = Path(config["storage"]) / f"distributed-{trial.identity}"
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier attempt whose worker died
    (folder / DELIVERED).mkdir(parents=True)
    gpu = {"GPU": config["gpus"]} if config["gpus"] else {}
    trainer = TorchTrainer(
        _train_in_worker,
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
    refused = folder / DATA_PROBLEM
    try:
        trainer.fit()
    except Exception:
        if refused.exists():  # the worker's own message, instead of Ray's report of the failure
            raise DataError(refused.read_text(encoding="utf-8")) from None
        raise
    if (folder / PAUSED).exists():
        partial = (folder / PAUSED).read_text(encoding="utf-8")
        raise PausedError(TrialResult.model_validate_json(partial))
    failure = folder / FAILURE
    return folder / DELIVERED, failure.read_text(encoding="utf-8") if failure.exists() else ""


def _require_shared_filesystem(config: Mapping[str, Any]) -> None:
    """Require the shared folders that the workers of one trial use to exchange files."""
    if not shares_filesystem(config):
        raise DataError(
            f"node {platform.node()} cannot access {config['storage']}: with resources.workers "
            "above 1 the working folder has to be on a file system that all nodes share"
        )


def _train_in_worker(config: dict[str, Any]) -> None:
    """Train in one worker."""
    _require_shared_filesystem(config)
    trial = Trial.model_validate_json(config["trial"])
    install(Plugin.model_validate(plugin) for plugin in config["plugins"])
    context, folder = train.get_context(), Path(config["folder"])
    group = ProcessGroup(context.get_world_rank(), context.get_world_size())
    checkpoints = checkpoints_of(trial, config)

    def on_epoch(record: EpochRecord | None) -> None:
        """Report from every worker: Ray Train waits for all of them."""
        notes = list(checkpoints.notes) if group.is_main_process else []
        checkpoints.notes.clear()
        train.report({"epochs": [record.model_dump()] if record else [], "notes": notes})

    try:
        result = run_trial(
            trial,
            data_root=data_root_of(trial, config),
            artifacts=folder / DELIVERED,
            device=str(get_device()) if config["device"] == "cuda" else "cpu",
            on_epoch=on_epoch,
            group=group,
            checkpoints=checkpoints,
            until=config["until"],
        )
    except PausedError as paused:
        if group.is_main_process:
            partial = paused.partial_result.model_dump_json()
            (folder / PAUSED).write_text(partial, encoding="utf-8")
        return
    except DataError as error:
        (folder / DATA_PROBLEM).write_text(str(error), encoding="utf-8")
        raise
    if group.is_main_process:
        (folder / DELIVERED / "result.json").write_text(result.model_dump_json(), encoding="utf-8")
        if result.failures:
            text = "\n".join(result.failures.values())
            (folder / FAILURE).write_text(text, encoding="utf-8")
