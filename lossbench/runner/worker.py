"""What runs in a worker. Imports only what a trial needs: each new worker waits for it."""

from __future__ import annotations

import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from ray import tune

from lossbench.assembly.plugins import install
from lossbench.errors import DataError, redacted
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, Plugin
from lossbench.runner.checkpoints import checkpoints_of
from lossbench.runner.file_server import at_home, depot_of, read_files
from lossbench.runner.node_data import data_root_of
from lossbench.runner.trial import PausedError, run_trial

REPORT_SEC = 0.5
"""Epochs are sent to the driver this often: a report blocks the trial for 5 ms."""
ATTEMPTS = 3
"""A trial whose worker dies this many times without a new checkpoint has failed."""


def run_job(config: dict[str, Any]) -> None:
    """Run one trial. An exception is an answer, too: trying again would not help."""
    trial = Trial.model_validate_json(config["trial"])
    install(Plugin.model_validate(plugin) for plugin in config["plugins"])
    checkpoints = checkpoints_of(trial, config)
    if checkpoints.attempt(config["storage"]) > ATTEMPTS:
        message = f"its worker died {ATTEMPTS} times without getting further; out of memory?"
        tune.report({"failed": message})
        return
    unsent: list[dict[str, Any]] = []
    sent_at = time.monotonic()

    def news() -> dict[str, Any]:
        told: dict[str, Any] = {"epochs": list(unsent), "notes": list(checkpoints.notes)}
        unsent.clear()
        checkpoints.notes.clear()
        return told

    def on_epoch(record: EpochRecord | None) -> None:
        nonlocal sent_at
        assert record is not None  # it leads a team of one
        unsent.append(record.model_dump())
        if time.monotonic() - sent_at >= REPORT_SEC:
            tune.report(news())
            sent_at = time.monotonic()

    with tempfile.TemporaryDirectory(prefix="lossbench-") as folder:
        try:
            if trial.workers > 1:
                from lossbench.runner.distributed import train_together

                _deliver({}, train_together(config), config)
                return
            result = run_trial(
                trial,
                data_root=data_root_of(trial, config),
                artifacts=Path(folder),
                device=config["device"],
                on_epoch=on_epoch,
                checkpoints=checkpoints,
                until=config["until"].get(trial.identity),
            )
            (Path(folder) / "result.json").write_text(result.model_dump_json(), encoding="utf-8")
        except PausedError as paused:
            tune.report({**news(), "paused": [record.model_dump() for record in paused.history]})
            return
        except DataError as error:
            tune.report({"refused": str(error)})
            return
        except Exception:
            tune.report({"failed": redacted(traceback.format_exc())})
            return
        _deliver(news(), folder, config)


def _deliver(news: dict[str, Any], folder: str | Path, config: dict[str, Any]) -> None:
    """Hand a trial's files to the driver."""
    try:
        depot = depot_of(config)
        if depot is not None and not at_home(config):
            identity = Trial.model_validate_json(config["trial"]).identity
            tune.report({**news, "delivered": depot.deliver(identity, read_files(Path(folder)))})
            return
        tune.report(news, checkpoint=tune.Checkpoint.from_directory(folder))
    except OSError as error:  # a full disk; trying again would meet it again
        tune.report({"failed": f"its result could not be kept: {error.strerror or error}"})
