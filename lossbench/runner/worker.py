"""Code that runs in a Ray worker.

It imports only what a trial needs, because each new worker waits for the imports.
"""

from __future__ import annotations

import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from ray import tune

from lossbench.assembly.plugins import install
from lossbench.errors import DataError
from lossbench.errors.redaction import redacted
from lossbench.planning.result_files import RESULT
from lossbench.planning.trial import Trial
from lossbench.records import EpochRecord, Plugin
from lossbench.runner.checkpoint_folders import checkpoints_of
from lossbench.runner.file_server import file_server_client, read_files, shares_filesystem
from lossbench.runner.node_data import data_root_of
from lossbench.runner.trial import PausedError, measure_trial, run_trial

REPORT_SEC = 0.5
"""Time between two reports to the driver: a report blocks the trial for 5 ms."""
MAX_ATTEMPTS = 3
"""Maximum number of starts of a trial without a new checkpoint; after that it has failed."""


def run_job(config: dict[str, Any]) -> None:
    """Train and measure one trial, or measure it on its stored weights.

    Exceptions are reported as results: Tune would restart the trial, which would fail again.
    """
    trial = Trial.model_validate_json(config["trial"])
    install(Plugin.model_validate(plugin) for plugin in config["plugins"])
    checkpoints = checkpoints_of(trial, config)
    if checkpoints.count_start(config["storage"]) > MAX_ATTEMPTS:
        message = f"its process died {MAX_ATTEMPTS} times without a new checkpoint; out of memory?"
        tune.report({"failed": message})
        return
    unreported: list[dict[str, Any]] = []
    reported_at = time.monotonic()

    def pending_report() -> dict[str, Any]:
        report = {"epochs": list(unreported), "notes": list(checkpoints.notes)}
        unreported.clear()
        checkpoints.notes.clear()
        return report

    def on_epoch(record: EpochRecord | None) -> None:
        nonlocal reported_at
        assert record is not None  # this is the main process
        unreported.append(record.model_dump())
        if time.monotonic() - reported_at >= REPORT_SEC:
            tune.report(pending_report())
            reported_at = time.monotonic()

    with tempfile.TemporaryDirectory(prefix="lossbench-") as folder:
        try:
            if trial.workers > 1 and not config["measure_only"]:
                from lossbench.runner.distributed import train_distributed

                delivered, failure = train_distributed(config)
                _deliver({"unmeasured": failure}, delivered, config)
                return
            if config["measure_only"]:
                result = measure_trial(
                    trial,
                    data_root=data_root_of(trial, config),
                    stored=checkpoints.folder,
                    artifacts=Path(folder),
                    device=config["device"],
                )
            else:
                result = run_trial(
                    trial,
                    data_root=data_root_of(trial, config),
                    artifacts=Path(folder),
                    device=config["device"],
                    on_epoch=on_epoch,
                    checkpoints=checkpoints,
                    until=config["until"],
                )
            (Path(folder) / RESULT).write_text(result.model_dump_json(), encoding="utf-8")
        except PausedError as paused:
            tune.report({**pending_report(), "paused": paused.partial_result.model_dump_json()})
            return
        except DataError as error:
            tune.report({"data_problem": str(error)})
            return
        except Exception:
            tune.report({"failed": redacted(traceback.format_exc())})
            return
        failure = "\n".join(result.failures.values())
        _deliver({**pending_report(), "unmeasured": failure}, folder, config)


def _deliver(report: dict[str, Any], folder: str | Path, config: dict[str, Any]) -> None:
    """Send a trial's result files to the driver, with its last report."""
    try:
        client = file_server_client(config)
        if client is not None and not shares_filesystem(config):
            identity = Trial.model_validate_json(config["trial"]).identity
            tune.report({**report, "delivered": client.deliver(identity, read_files(Path(folder)))})
            return
        tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))
    except OSError as error:  # a full disk, for instance; another attempt would fail, too
        tune.report({"failed": f"its result could not be saved: {error.strerror or error}"})
