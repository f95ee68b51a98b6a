"""Trials as Ray Tune jobs, submitted from the driver."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from rich.console import Console

from lossbench.planning.durations import format_duration
from lossbench.planning.trial import Trial
from lossbench.records import Plugin
from lossbench.runner import file_server as depot
from lossbench.runner.cluster import Slot
from lossbench.runner.outbox import Spool
from lossbench.runner.progress import Display
from lossbench.runner.ray_files import logs_folder
from lossbench.runner.recorder import Recorder
from lossbench.runner.worker import run_job
from lossbench.tracking.store import Tracker

MOST_DEATHS = 100
"""Of a trial's workers, however far it got between them."""
WORKERS_START_SEC = 300.0
"""Without any worker after this long there will be none; a busy machine takes one minute."""


def run_trials(
    trials: Sequence[Trial],
    until: Mapping[str, int],
    slot: Slot,
    tracker: Tracker,
    spool: Spool,
    *,
    data_root: Path,
    work: Path,
    console: Console,
    checkpoint_sec: float,
    fail_fast: bool,
    plugins: Sequence[Plugin] = (),
    deadline: float = math.inf,
) -> Recorder:
    """Run trials on the connected cluster and record each as it ends.

    Ctrl-C ends it early and in order; the recorder then knows fewer trials than were given.

    Args:
        trials: Those to run, most wanted first.
        until: Epoch after which each trial is paused or ends, by its identity.
        slot: What each gets.
        tracker: With its suite started.
        spool: Of the suite's table.
        data_root: The driver's; for other nodes see `node_data`.
        work: Folder for Ray's storage and the logs of failures.
        console: For the progress display.
        checkpoint_sec: Least time between two checkpoints of a trial.
        fail_fast: Whether the first trial that fails or diverges ends it.
        plugins: Files that register what trials use.
        deadline: On the monotonic clock; what runs then is stopped, as by Ctrl-C.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the display tells, in one line
    epochs = sum(until[trial.identity] for trial in trials)
    storage, name = work / "ray", f"{trials[0].suite}-{time.time_ns()}"
    halting = sum(until[trial.identity] < trial.recipe.epochs for trial in trials)
    compared = f" ({halting} up to a comparison of their rows)" if halting else ""
    console.print(
        f"{len(trials)} trials to run{compared}, {slot.concurrent} at a time on {slot.device}",
        highlight=False,
    )
    started = time.monotonic()
    with Display(console, len(trials), epochs, until) as display:
        recorder = Recorder(trials, tracker, spool, display, work)
        try:
            own = {
                "data_root": str(data_root.resolve()),
                "device": slot.device,
                "gpus": slot.gpus,
                "storage": str((storage / name).resolve()),
                "checkpoints": str((work / "checkpoints").resolve()),
                "checkpoint_sec": checkpoint_sec,
                "plugins": [plugin.model_dump() for plugin in plugins],
                "until": dict(until),
            }
            early = _Early(recorder, fail_fast, deadline, waits=slot.attached)
            # on one machine every worker sees every file
            service = depot.opened(own) if slot.attached else contextlib.nullcontext("")
            # a signal to stop, or Ctrl-C before Tune handles it
            with service as own["depot"], contextlib.suppress(KeyboardInterrupt):
                _tuner(trials, slot, recorder, own, early).fit()
        finally:
            recorder.close()
            shutil.rmtree(storage / name, ignore_errors=True)
    took = format_duration(time.monotonic() - started)
    paused = f", {len(recorder.paused)} wait for a comparison" if recorder.paused else ""
    console.print(f"{len(recorder.finished)} trials finished in {took}{paused}", highlight=False)
    return recorder


def _tuner(
    trials: Sequence[Trial],
    slot: Slot,
    recorder: Recorder,
    shared: dict[str, Any],
    early: _Early,
) -> tune.Tuner:
    storage = Path(shared["storage"])
    resources: dict[str, float] = {"cpu": slot.cpus, "gpu": slot.gpus}
    if slot.workers > 1:  # the job only waits for its workers, which Ray Train places itself
        resources = {"memory": 2**20}
    return tune.Tuner(
        tune.with_resources(run_job, resources),
        param_space={
            "trial": tune.grid_search([trial.model_dump_json() for trial in trials]),
            **shared,
        },
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=slot.concurrent),
        run_config=tune.RunConfig(
            name=storage.name,
            storage_path=str(storage.parent),
            verbose=0,
            callbacks=[recorder],
            stop=early,
            failure_config=tune.FailureConfig(max_failures=MOST_DEATHS),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )


class _Early(tune.Stopper):
    """Stops all trials once one found that the data cannot be used: the others would, too.

    So it is once the disk is full. With `fail_fast` once any has failed or diverged. When time is
    up. And when no worker starts, unless it `waits` for a cluster that may still grow.
    """

    def __init__(
        self, recorder: Recorder, fail_fast: bool, deadline: float, *, waits: bool = False
    ) -> None:
        self._recorder, self._fail_fast, self._deadline = recorder, fail_fast, deadline
        self._workers_until = math.inf if waits else time.monotonic() + WORKERS_START_SEC

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: it is pickled for a restore, which is not used here."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        recorder = self._recorder
        if not recorder.begun and time.monotonic() >= self._workers_until:
            recorder.stuck = (
                f"no worker of Ray has started in {WORKERS_START_SEC / 60:.0f} minutes; its logs, "
                f"raylet.out and raylet.err, are in {logs_folder()}"
            )
            return True
        return bool(
            recorder.refused
            or recorder.stuck
            or (self._fail_fast and (recorder.failed or recorder.diverged))
            or time.monotonic() >= self._deadline
        )
