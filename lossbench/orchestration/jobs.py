"""Trials as Ray Tune jobs: submitted from the driver, run by workers."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import tune
from rich.console import Console

from lossbench.errors import DataError
from lossbench.orchestration.cluster import Slot
from lossbench.orchestration.progress import Display, duration
from lossbench.orchestration.recorder import Recorder
from lossbench.orchestration.spool import Spool
from lossbench.plan import Trial
from lossbench.records import EpochRecord
from lossbench.tracking.store import Tracker
from lossbench.trial import run_trial

REPORT_SEC = 0.5
"""Epochs are sent to the driver this often: a report blocks the trial for 5 ms."""
WORKER_DEATHS = 2
"""A trial whose worker was killed is tried again this many times."""


def run_trials(
    trials: Sequence[Trial],
    slot: Slot,
    tracker: Tracker,
    spool: Spool,
    *,
    data_root: Path,
    work: Path,
    console: Console,
) -> Recorder:
    """Run trials on the connected cluster and record each as it ends.

    Ctrl-C ends it early and in order; the recorder then knows fewer trials than were given.

    Args:
        trials: Those to run, most wanted first.
        slot: What each gets.
        tracker: With its suite started.
        spool: Of the suite's table.
        data_root: The same path on every node.
        work: Folder for Ray's storage and the logs of failures; on a cluster every
            node must reach it.
        console: For the progress display.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the display tells, in one line
    epochs = sum(trial.recipe.epochs for trial in trials)
    storage, name = work / "ray", f"{trials[0].suite}-{time.time_ns()}"
    console.print(
        f"{len(trials)} trials to run, {slot.concurrent} at a time on {slot.device}",
        highlight=False,
    )
    started = time.monotonic()
    with Display(console, len(trials), epochs) as display:
        recorder = Recorder(trials, tracker, spool, display, work / "logs")
        try:
            _tuner(trials, data_root, slot, recorder, storage, name).fit()
        finally:
            recorder.close()
            shutil.rmtree(storage / name, ignore_errors=True)
    took = duration(time.monotonic() - started)
    console.print(f"{len(recorder.finished)} trials finished in {took}", highlight=False)
    return recorder


def _tuner(
    trials: Sequence[Trial],
    data_root: Path,
    slot: Slot,
    recorder: Recorder,
    storage: Path,
    name: str,
) -> tune.Tuner:
    resources: dict[str, float] = {"cpu": slot.cpus, "gpu": slot.gpus}
    if slot.workers > 1:  # the job only waits for its workers, which Ray Train places itself
        resources = {"memory": 2**20}
    return tune.Tuner(
        tune.with_resources(_trainable, resources),
        param_space={
            "trial": tune.grid_search([trial.model_dump_json() for trial in trials]),
            "data_root": str(data_root.resolve()),
            "device": slot.device,
            "gpus": slot.gpus,
            "storage": str((storage / name).resolve()),
        },
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=slot.concurrent),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(storage.resolve()),
            verbose=0,
            callbacks=[recorder],
            stop=_WhenRefused(recorder),
            failure_config=tune.FailureConfig(max_failures=WORKER_DEATHS),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )


class _WhenRefused(tune.Stopper):
    """Stops all trials once one found that the data cannot be used: the others would, too."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: it is pickled for a restore, which is not used here."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return bool(self._recorder.refused)


def _trainable(config: dict[str, Any]) -> None:
    """Runs in a worker. An exception is an answer, too: trying again would not help."""
    trial = Trial.model_validate_json(config["trial"])
    unsent: list[dict[str, Any]] = []
    sent_at = time.monotonic()

    def on_epoch(record: EpochRecord | None) -> None:
        nonlocal sent_at
        assert record is not None  # it leads a team of one
        unsent.append(record.model_dump())
        if time.monotonic() - sent_at >= REPORT_SEC:
            tune.report({"epochs": list(unsent)})
            unsent.clear()
            sent_at = time.monotonic()

    with tempfile.TemporaryDirectory(prefix="lossbench-") as folder:
        try:
            if trial.workers > 1:
                from lossbench.orchestration.together import train_together

                delivered = tune.Checkpoint.from_directory(train_together(config))
                tune.report({"epochs": []}, checkpoint=delivered)
                return
            result = run_trial(
                trial,
                data_root=Path(config["data_root"]),
                artifacts=Path(folder),
                device=config["device"],
                on_epoch=on_epoch,
            )
        except DataError as error:
            tune.report({"refused": str(error)})
            return
        except Exception:
            tune.report({"failed": traceback.format_exc()})
            return
        (Path(folder) / "result.json").write_text(result.model_dump_json())
        checkpoint = tune.Checkpoint.from_directory(folder)
        tune.report({"epochs": list(unsent)}, checkpoint=checkpoint)
